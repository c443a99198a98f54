/**
 * The uniform of a kernel, its parameters but for the buffers. {@link uniform} takes the fields once and gives both
 * ends: the WGSL that declares them, and the words that a launch sends for values by name.
 */

/** All fields are 32 bits. A list becomes as many fields as a kernel says: `extent: 'u32[]'` is extent0, extent1, … */
export type UniformFields = { readonly [name: string]: 'u32' | 'i32' | 'f32' | 'u32[]' | 'f32[]' }

type IsList<T> = T extends `${string}[]` ? true : false

export type UniformValues<F extends UniformFields> = {
  readonly [N in keyof F]: IsList<F[N]> extends true ? readonly number[] : number
}

type Counts<F extends UniformFields> = { readonly [N in keyof F as IsList<F[N]> extends true ? N : never]: number }

export interface Uniform<F extends UniformFields> {
  /** The struct, and the uniform `p` of that type at binding 0; of lists, how many fields each is. */
  wgsl(...counts: keyof Counts<F> extends never ? [] : [Counts<F>]): string
  /** Its 32-bit words, in order. */
  words(values: UniformValues<F>): number[]
}

export function uniform<const F extends UniformFields>(fields: F): Uniform<F> {
  const all = Object.entries(fields).map(([name, type]) => ({
    name,
    type: type.slice(0, 3),
    isList: type.endsWith('[]'),
  }))
  return {
    wgsl: (counts: { readonly [name: string]: number } = {}) => {
      const members = all.flatMap(({ name, type, isList }) =>
        isList ? Array.from({ length: counts[name] }, (_, i) => `${name}${i}: ${type}`) : [`${name}: ${type}`],
      )
      return `struct Params { ${members.join(', ')} }\n@group(0) @binding(0) var<uniform> p: Params;`
    },
    words: (values: { readonly [name: string]: number | readonly number[] }) => {
      const words: number[] = []
      for (const { name, type, isList } of all) {
        const isFloat = type === 'f32'
        const value = values[name]
        if (isList) for (const item of value as readonly number[]) words.push(isFloat ? bitsOf(item) : item)
        else words.push(isFloat ? bitsOf(value as number) : (value as number))
      }
      return words
    },
  }
}

const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** The bits of a float32. */
export function bitsOf(value: number): number {
  float[0] = value
  return bits[0]
}
