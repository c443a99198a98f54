/**
 * As much of WebAssembly's binary format as run-time kernels need: a module that imports `env.memory` and exports one
 * function (params, chunk, scratch). Code is written as expressions: a {@link Code} is bytes that leave one value on
 * the stack (or none, for statements), operations take the code of their operands, and a {@link Body} keeps what is
 * used twice in a local.
 */
import type { MemoryType } from '../launch.ts'

export type Code = readonly number[]

/** LEB128, as WebAssembly writes whole numbers. */
export const unsigned = (value: number): number[] =>
  value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)]
const signed = (value: number): number[] =>
  value >= -64 && value < 64 ? [value & 127] : [(value & 127) | 128, ...signed(value >> 7)]
const bytesOf = (float: number): number[] => [...new Uint8Array(Float32Array.of(float).buffer)]

type Unary = (a: Code) => Code
type Binary = (a: Code, b: Code) => Code
type Ternary = (a: Code, b: Code, c: Code) => Code

const plain =
  (opcode: number): Binary =>
  (a, b) => [...a, ...b, opcode]
const simd1 =
  (opcode: number): Unary =>
  (a) => [...a, 0xfd, ...unsigned(opcode)]
const simd2 =
  (opcode: number): Binary =>
  (a, b) => [...a, ...b, 0xfd, ...unsigned(opcode)]
const simd3 =
  (opcode: number): Ternary =>
  (a, b, c) => [...a, ...b, ...c, 0xfd, ...unsigned(opcode)]
const shift =
  (opcode: number) =>
  (a: Code, by: number): Code => [...a, ...i32.const(by), 0xfd, ...unsigned(opcode)]

/** Instructions on addresses and counters. */
export const i32 = {
  const: (value: number): Code => [0x41, ...signed(value | 0)],
  load: (address: Code, offset: number): Code => [...address, 0x28, 2, ...unsigned(offset)],
  add: plain(0x6a),
  sub: plain(0x6b),
  mul: plain(0x6c),
  divU: plain(0x6e),
  remU: plain(0x70),
  ltS: plain(0x48),
  shl: (a: Code, by: number): Code => [...a, ...i32.const(by), 0x74],
  /** The lesser of two signed values that are cheap to compute twice. */
  min: (a: Code, b: Code): Code => [...a, ...b, ...a, ...b, 0x48, 0x1b],
}

/** Instructions on all 128 bits. Comparisons give masks; `select(a, b, mask)` is a where the mask is set. */
export const v128 = {
  load: (address: Code, offset = 0): Code => [...address, 0xfd, 0, 2, ...unsigned(offset)],
  loadSplat: (address: Code, offset = 0): Code => [...address, 0xfd, 9, 2, ...unsigned(offset)],
  store: (address: Code, value: Code): Code => [...address, ...value, 0xfd, 11, 2, 0],
  storeLane0: (address: Code, value: Code): Code => [...address, ...value, 0xfd, 0x5a, 2, 0, 0],
  and: simd2(0x4e),
  andNot: simd2(0x4f),
  or: simd2(0x50),
  select: simd3(0x52),
}

export const i32x4 = {
  splat: (value: number): Code => [...i32.const(value), 0xfd, 0x11],
  add: simd2(0xae),
  sub: simd2(0xb1),
  shl: shift(0xab),
  shrS: shift(0xac),
  fromF32: simd1(0xf8),
  fromF32U: simd1(0xf9),
}

/**
 * `nearest` is to even; `min` and `max` give NaN for NaN; `pmin(a, b)` is b < a ? b : a, `pmax(a, b)` a < b ? b : a.
 */
export const f32x4 = {
  splat: (value: number): Code => [0x43, ...bytesOf(value), 0xfd, 0x13],
  add: simd2(0xe4),
  sub: simd2(0xe5),
  mul: simd2(0xe6),
  div: simd2(0xe7),
  min: simd2(0xe8),
  max: simd2(0xe9),
  pmin: simd2(0xea),
  pmax: simd2(0xeb),
  floor: simd1(0x68),
  nearest: simd1(0x6a),
  abs: simd1(0xe0),
  neg: simd1(0xe1),
  sqrt: simd1(0xe3),
  eq: simd2(0x41),
  ne: simd2(0x42),
  lt: simd2(0x43),
  gt: simd2(0x44),
  ge: simd2(0x46),
  fromI32: simd1(0xfa),
  fromU32: simd1(0xfb),
  /** a·b + c, in one instruction where the engine has it. */
  relaxedMadd: simd3(0x105),
}

export type LocalType = 'i32' | 'v128'

/** Locals of the function; the first three are its parameters. */
export class Locals {
  readonly #types: number[] = []

  add(type: LocalType): number {
    this.#types.push(type === 'i32' ? 0x7f : 0x7b)
    return this.#types.length + 2
  }

  declaration(): number[] {
    return vector(this.#types.map((type) => [1, type]))
  }
}

export const get = (local: number): Code => [0x20, ...unsigned(local)]
export const set = (local: number, value: Code): Code => [...value, 0x21, ...unsigned(local)]

/** Statements in a row. */
export class Body {
  readonly code: number[] = []
  readonly locals: Locals

  constructor(locals: Locals) {
    this.locals = locals
  }

  run(...statements: Code[]): void {
    for (const statement of statements) this.code.push(...statement)
  }

  /** Computes `value` here, once; the result reads it. */
  keep(value: Code, type: LocalType = 'v128'): Code {
    const local = this.locals.add(type)
    this.run(set(local, value))
    return get(local)
  }

  /** Runs `body` again as long as `again`, evaluated at its end, is not 0. */
  loop(body: Code, again: Code): void {
    this.run([0x03, 0x40], body, again, [0x0d, 0, 0x0b])
  }
}

const vector = (items: readonly Code[]): number[] => [...unsigned(items.length), ...items.flat()]
const section = (id: number, items: readonly Code[]): number[] => {
  const content = vector(items)
  return [id, ...unsigned(content.length), ...content]
}
const name = (text: string): number[] => vector([...text].map((c) => [c.charCodeAt(0)]))

/** The module of one function (params, chunk, scratch). */
export function moduleOf({ code, locals }: Body, { shared, initial, maximum }: MemoryType): Uint8Array {
  const body = [...locals.declaration(), ...code, 0x0b]
  return Uint8Array.from([
    0,
    0x61,
    0x73,
    0x6d,
    1,
    0,
    0,
    0,
    ...section(1, [[0x60, 3, 0x7f, 0x7f, 0x7f, 0]]),
    ...section(2, [[...name('env'), ...name('memory'), 2, shared ? 3 : 1, ...unsigned(initial), ...unsigned(maximum)]]),
    ...section(3, [[0]]),
    ...section(7, [[...name('kernel'), 0, 0]]),
    ...section(10, [[...unsigned(body.length), ...body]]),
  ])
}
