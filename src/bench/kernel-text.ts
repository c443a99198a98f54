/** What the text of a kernel says of it, before anything compiles it. */
import { arithmetic } from './arithmetic.ts'

export interface KernelText {
  readonly storageBuffers: number
  readonly uniformBuffers: number
  /** Null where a type or a length is not understood. */
  readonly workgroupBytes: number | null
  /** Of a workgroup; null likewise. */
  readonly threads: number | null
}

/** Reads WGSL with one entry point. Lengths may be made of the module's `const`s. */
export function readKernelText(code: string): KernelText {
  const text = code.replaceAll(/\/\/.*$/gm, '').replaceAll(/\/\*.*?\*\//gs, '')
  const constants: Record<string, number> = {}
  const value = (words: string): number[] | null => {
    try {
      const plain = words.replaceAll(/\b(\d+)[iu]\b/g, '$1').replace(/,\s*$/, '')
      const terms = arithmetic(plain, Object.keys(constants), (found) => {
        throw new SyntaxError(found)
      })
      return terms.map((term) => term(constants))
    } catch {
      return null
    }
  }
  for (const [, name, words] of text.matchAll(/\bconst\s+(\w+)(?:\s*:\s*\w+)?\s*=\s*([^;]+);/g)) {
    const found = value(words)
    if (found?.length === 1) constants[name] = found[0]
  }
  /** Of a type in an array of workgroup memory, where a vector of three takes four. */
  const bytesOf = (type: string): number | null => {
    const array = /^array<(.*),([^,>]*)>$/s.exec(type.trim())
    if (array) {
      const [item, length] = [bytesOf(array[1]), value(array[2])]
      return item === null || length === null ? null : item * length[0]
    }
    const [, lanes = '1', scalar] =
      /^(?:vec(\d)<)?(?:atomic<)?([fiu](?:32|16)|bool)>?$/.exec(type.trim()) ??
      /^vec(\d)([fiuh])$/.exec(type.trim()) ??
      []
    if (scalar === undefined) return null
    return (/16|h/.test(scalar) ? 2 : 4) * { '1': 1, '2': 2, '3': 4, '4': 4 }[lanes as '1' | '2' | '3' | '4']
  }
  const all = (numbers: readonly (number | null)[], join: (a: number, b: number) => number, first: number) =>
    numbers.reduce((a, b) => (a === null || b === null ? null : join(a, b)), first)
  const shared = [...text.matchAll(/var<workgroup>\s+\w+\s*:\s*([^;]+);/g)].map(([, type]) => bytesOf(type))
  const [, size] = /@workgroup_size\s*\(([^)]*)\)/.exec(text) ?? []
  return {
    storageBuffers: [...text.matchAll(/@binding\(\d+\)\s*var<storage/g)].length,
    uniformBuffers: [...text.matchAll(/@binding\(\d+\)\s*var<uniform/g)].length,
    workgroupBytes: all(shared, (a, b) => a + b, 0),
    threads: all((size === undefined ? null : value(size)) ?? [null], (a, b) => a * b, 1),
  }
}
