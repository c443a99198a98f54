/**
 * Parameters of the WebAssembly kernels: the layouts that scripts/params.js reads from the sources are those that
 * AssemblyScript makes of them, and what is given by name arrives in the field of that name.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { paramsModule } from '../scripts/params.js'
import { kernelNames } from '../src/tensor/cpu/generated/kernels.ts'
import { layouts } from '../src/tensor/cpu/generated/params.ts'
import type { Job } from '../src/tensor/cpu/launch.ts'
import { fieldsOf, putParams, wordsOf, type Buffer, type Layout } from '../src/tensor/cpu/params.ts'

/**
 * AssemblyScript's compiler, as far as it is used here. Its own types declare globals: with them `[].at(-1)` of a whole
 * program would be no longer perhaps undefined.
 */
interface Compiler {
  main(
    options: readonly string[],
    files: {
      readFile(name: string): string | null
      writeFile(name: string, contents: Uint8Array | string): void
      listFiles(): readonly string[]
    },
  ): Promise<{ error: Error | null; stderr: { toString(): string } }>
}
const compiler: string = 'assemblyscript/asc'
const { main } = (await import(compiler)) as Compiler

const folder = fileURLToPath(new URL('../src/wasm/', import.meta.url))

/** What the files `text` gives, and else those of src/wasm, export once compiled. */
async function compile(
  entry: string,
  text: (name: string) => string | null,
): Promise<Record<string, (...args: number[]) => number>> {
  let module: Uint8Array<ArrayBuffer> | null = null
  const { error, stderr } = await main(
    [entry, '--outFile', 'out.wasm', '--runtime', 'stub', '--noAssert', '--enable', 'simd,relaxed-simd'],
    {
      readFile: (name) => text(name) ?? (name.startsWith('node_modules') ? null : readIf(name)),
      writeFile: (_, contents) => void (module = new Uint8Array(contents as Uint8Array)),
      listFiles: () => [],
    },
  )
  if (error || !module) throw new Error(`${error} ${stderr}`)
  const { instance } = await WebAssembly.instantiate(module as Uint8Array<ArrayBuffer>, { env: { abort: () => {} } })
  return instance.exports as Record<string, (...args: number[]) => number>
}

function readIf(name: string): string | null {
  try {
    return readFileSync(join(folder, name), 'utf8')
  } catch {
    return null
  }
}

const small = `
@unmanaged
class Base {
  /** What it reads. */
  x: usize
  scale: f32; shift: f32
}
@unmanaged
class TestParams extends Base {
  // Not for users.
  count: i32
  bits: u32
  axes: Words
}
export function a(p: TestParams, chunk: i32, scratch: usize): void {}
export function b(p: Base, chunk: i32, scratch: usize): void {}
function c(p: i32): void {}
`
const layoutsOf = (text: string, ...names: string[]): Record<string, Layout> => {
  const code = paramsModule(new Map([['small.ts', text]]), names)
    .replaceAll(' as const', '')
    .replace('export const layouts =', 'return')
  return new Function(code)() as Record<string, Layout>
}

describe('what is read from a kernel', () => {
  test('is its class, inherited fields first, with their comments', () => {
    const found = layoutsOf(small, 'a', 'b')
    expect(Object.entries(found.a)).toEqual([
      ['x', 'usize'],
      ['scale', 'f32'],
      ['shift', 'f32'],
      ['count', 'i32'],
      ['bits', 'u32'],
      ['axes', 'i32[]'],
    ])
    expect(Object.entries(found.b)).toEqual([
      ['x', 'usize'],
      ['scale', 'f32'],
      ['shift', 'f32'],
    ])
    const module = paramsModule(new Map([['small.ts', small]]), ['a'])
    expect(module).toContain("  /** What it reads. */\n  x: 'usize',")
    expect(module).not.toContain('Not for users')
  })

  test.each([
    [
      'an unknown type',
      small.replace('count: i32', 'count: f64'),
      /TestParams.count in small.ts is of type f64, expected one of usize, i32, u32, f32, Words/,
    ],
    [
      'a field without a type',
      small.replace('count: i32', 'count = 1'),
      /TestParams.count in small.ts is of type \(none\)/,
    ],
    ['a method', small.replace('count: i32', 'count(): i32 { return 1 }'), /only fields/],
    ['a list that is not last', small.replace('count: i32', 'count: Words'), /TestParams.count: Words must come last/],
    ['a class twice', `${small}\n@unmanaged class Base {}`, /Base is a class of small.ts and of small.ts/],
    ['a base class that is not there', small.replace('class Base', 'class Bass'), /Base is extended/],
    [
      'a class of JavaScript',
      small.replaceAll('@unmanaged', ''),
      /Kernel a: its first parameter is of type TestParams/,
    ],
    [
      'a kernel without parameters',
      small.replace('a(p: TestParams, ', 'a('),
      /Kernel a: its first parameter is of type i32/,
    ],
  ])('refuses %s', (_, text, message) => {
    expect(() => layoutsOf(text, 'a')).toThrow(message)
  })
})

test('every field lies where AssemblyScript has it', async () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.ts'))
  const sources = new Map(files.map((name) => [name, readFileSync(join(folder, name), 'utf8')]))
  const offsets: string[] = []
  const appended = new Map(sources)
  const expected = new Map<string, number>()
  for (const kernel of kernelNames) {
    const [file, text] = [...sources].find(([, source]) => source.includes(`export function ${kernel}(p: `)) ?? ['', '']
    const owner = /\w+/.exec(
      text.slice(text.indexOf(`export function ${kernel}(p: `) + `export function ${kernel}(p: `.length),
    )?.[0]
    Object.keys(layouts[kernel]).forEach((field, i) => {
      const name = `${kernel}_${field}`
      appended.set(
        file,
        `${appended.get(file)}\nexport function ${name}(): usize { return offsetof<${owner}>('${field}') }`,
      )
      offsets.push(`export { ${name} } from './${file.replace('.ts', '')}'`)
      expected.set(name, 4 * i)
    })
  }
  const found = await compile('offsets.ts', (name) =>
    name === 'offsets.ts' ? offsets.join('\n') : (appended.get(name) ?? null),
  )
  expect(new Map([...expected.keys()].map((name) => [name, found[name]()]))).toEqual(expected)
})

test('the compiler refuses a field too few, too many or misspelt, and an address that is none', () => {
  const x: Buffer = { storage: { bytes: 64, version: 0 } }
  const given = (params: Job<'softmax'>['params']): number => wordsOf(fieldsOf(layouts.softmax), params)
  const params = { x, y: x, rows: 1, length: 16, each: 1 }
  expect(given({ ...params, log: 0 })).toBe(6)
  // @ts-expect-error log is missing
  given({ ...params })
  // @ts-expect-error no such field
  given({ ...params, log: 0, logs: 1 })
  // @ts-expect-error a number where a buffer belongs
  given({ ...params, log: 0, x: 4096 })
})

test('what is given by name is read by name', async () => {
  const kernel = `type Words = i32\n${small}
export function x(p: TestParams): usize { return p.x }
export function scale(p: TestParams): f32 { return p.scale }
export function shift(p: TestParams): f32 { return p.shift }
export function count(p: TestParams): i32 { return p.count }
export function bits(p: TestParams): u32 { return p.bits }
export function axis(p: TestParams, i: i32): i32 { return load<i32>(changetype<usize>(p) + offsetof<TestParams>('axes') + (<usize>i << 2)) }
`
  const found = await compile('kernel.ts', (name) => (name === 'kernel.ts' ? kernel : null))
  const fields = fieldsOf(layoutsOf(small, 'a').a)
  const buffer: Buffer = { storage: { bytes: 8, version: 0 } }
  // Not in the order of the class.
  const params = { bits: 2 ** 32 - 1, axes: [7, 8, 9], count: -3, shift: -2, scale: 0.5, x: buffer }
  const { memory } = found as unknown as { memory: WebAssembly.Memory }
  memory.grow(1)
  const [words, floats] = [new Int32Array(memory.buffer), new Float32Array(memory.buffer)]
  const at = 64
  expect(wordsOf(fields, params)).toBe(8)
  words.fill(99, at, at + 9)
  putParams(fields, params, words, floats, at, (given) => (expect(given).toBe(buffer), 4096))
  expect(words[at + 8]).toBe(99)
  const read = (name: string, ...more: number[]): number => found[name](4 * at, ...more)
  expect(['x', 'scale', 'shift', 'count', 'bits'].map((name) => read(name))).toEqual([4096, 0.5, -2, -3, -1])
  expect([0, 1, 2].map((i) => read('axis', i))).toEqual([7, 8, 9])
})

test("AssemblyScript's types have not become ours", () => {
  const none: number[] = []
  // @ts-expect-error: in this language `at` may find nothing; in AssemblyScript it may not.
  expect(() => none.at(-1).toFixed()).toThrow()
})
