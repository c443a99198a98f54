/**
 * The parameters of a kernel: 32-bit words, named in the order in which the kernel reads them. `generated/params.ts` has
 * the layouts of the WebAssembly kernels, read from their source; `emit/map.ts` has that of the kernels it makes.
 */
import type { View } from '../backend.ts'

/** A tensor's memory, a temporary's, or a packed copy's. */
export type Buffer = Pick<View, 'storage'>

export type Layout = { readonly [field: string]: 'usize' | 'i32' | 'u32' | 'f32' | 'usize[]' | 'i32[]' | 'f32[]' }

/** An address is that of a buffer, or 0 where there is none. */
type Word<T> = T extends 'usize' ? Buffer | 0 : number

/** What a launch gives for a layout: every field, by name. */
export type Params<L extends Layout> = {
  readonly [F in keyof L]: L[F] extends `${infer T}[]` ? readonly Word<T>[] : Word<L[F]>
}

/** Parameters of any layout. */
type AnyParams = { readonly [field: string]: number | Buffer | readonly (number | Buffer)[] }

interface Field {
  readonly name: string
  readonly isFloat: boolean
  /** Of as many words as the launch gives. */
  readonly isList: boolean
}

const known = new WeakMap<Layout, readonly Field[]>()

/** The fields of a layout in order; looked at once a layout. */
function fieldsOf(layout: Layout): readonly Field[] {
  let fields = known.get(layout)
  if (!fields) {
    fields = Object.entries(layout).map(([name, type]) => ({ name, isFloat: type.startsWith('f32'), isList: type.endsWith('[]') }))
    known.set(layout, fields)
  }
  return fields
}

/** How many words parameters are. */
export function wordsOf(layout: Layout, params: AnyParams): number {
  let count = 0
  for (const { name, isList } of fieldsOf(layout)) count += isList ? (params[name] as readonly unknown[]).length : 1
  return count
}

/** Puts parameters into memory, of which `words` and `floats` are views, from word `at` on. */
export function putParams(
  layout: Layout, params: AnyParams, words: Int32Array, floats: Float32Array, at: number, addressOf: (buffer: Buffer) => number,
): void {
  const put = (value: number | Buffer, isFloat: boolean): void => {
    if (isFloat) floats[at++] = value as number
    else words[at++] = typeof value === 'number' ? value : addressOf(value)
  }
  for (const { name, isFloat, isList } of fieldsOf(layout)) {
    const value = params[name]
    if (isList) for (const item of value as readonly (number | Buffer)[]) put(item, isFloat)
    else put(value as number | Buffer, isFloat)
  }
}
