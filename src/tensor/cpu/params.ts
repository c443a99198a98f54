/**
 * The parameters of a kernel: 32-bit words, named in the order in which the kernel reads them. `generated/params.ts`
 * has the layouts of the WebAssembly kernels, read from their source; `emit/map.ts` has that of the kernels it makes.
 */
import type { View } from '../backend.ts'

/** A tensor's memory, a temporary's, or a packed copy's. */
export type Buffer = Pick<View, 'storage'>

/** A kernel's parameters in their order, as its `Params` class has them: 32 bits each. */
export type Layout = { readonly [field: string]: 'usize' | 'i32' | 'u32' | 'f32' | 'usize[]' | 'i32[]' | 'f32[]' }

/** An address is that of a buffer, or 0 where there is none. */
type Word<T> = T extends 'usize' ? Buffer | 0 : number

/**
 * What a launch gives for a layout: every field, by name. What it spreads into the object comes last there: fields
 * after a spread cost 0.4 µs each (Node 20).
 */
export type Params<L extends Layout> = {
  readonly [F in keyof L]: L[F] extends `${infer T}[]` ? readonly Word<T>[] : Word<L[F]>
}

/** A layout taken apart, once, for whoever writes words by it. */
export interface Fields<L extends Layout = Layout> {
  readonly layout: L
  readonly all: readonly { readonly name: string; readonly isFloat: boolean; readonly isList: boolean }[]
  /** How many fields are no lists, and which are. */
  readonly singles: number
  readonly lists: readonly string[]
}

export function fieldsOf<L extends Layout>(layout: L): Fields<L> {
  const all = Object.entries(layout).map(([name, type]) => ({
    name,
    isFloat: type.startsWith('f32'),
    isList: type.endsWith('[]'),
  }))
  const lists = all.filter(({ isList }) => isList).map(({ name }) => name)
  return { layout, all, singles: all.length - lists.length, lists }
}

type Value = number | Buffer

/** Parameters of any layout. */
type AnyParams = { readonly [field: string]: Value | readonly Value[] }

/** How many words parameters are. */
export function wordsOf({ singles, lists }: Fields, params: AnyParams): number {
  let count = singles
  for (const name of lists) count += (params[name] as readonly Value[]).length
  return count
}

/** Puts parameters into memory, of which `words` and `floats` are views, from word `at` on. */
export function putParams(
  { all }: Fields,
  params: AnyParams,
  words: Int32Array,
  floats: Float32Array,
  at: number,
  addressOf: (buffer: Buffer) => number,
): void {
  for (const { name, isFloat, isList } of all) {
    const value = params[name]
    if (isList) for (const item of value as readonly Value[]) put(item, isFloat, words, floats, at++, addressOf)
    else put(value as Value, isFloat, words, floats, at++, addressOf)
  }
}

function put(
  value: Value,
  isFloat: boolean,
  words: Int32Array,
  floats: Float32Array,
  at: number,
  addressOf: (buffer: Buffer) => number,
): void {
  if (typeof value !== 'number') words[at] = addressOf(value)
  else if (isFloat) floats[at] = value
  else words[at] = value
}
