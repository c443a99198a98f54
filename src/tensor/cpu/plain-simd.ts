import { TweedieError } from '../../errors.ts'
import { unsigned as leb } from './emit/module.ts'

const codeSection = 10

/**
 * The kernels for engines without relaxed SIMD: the same module with every `relaxed_madd` (a·b + c, one instruction)
 * written as a multiplication and an addition. Deriving it here takes a walk over the code and saves a second copy of
 * all kernels, 20 KB of gzipped download.
 *
 * The walk needs to know how many bytes follow each instruction, for the instructions that AssemblyScript emits; one
 * that is unknown is an error, which the tests would see.
 */
export function toPlainSimd(module: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let at = 8
  const unsigned = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++]
      value |= (byte & 127) << shift
      if (byte < 128) return value >>> 0
    }
  }
  const out: Bytes[] = [module.subarray(0, 8)]
  /** Parameters of each type, and the type of each function that has code. */
  const parameters: number[] = []
  const types: number[] = []

  const skipImmediates = (opcode: number): void => {
    const skip = (count: number): void => {
      for (let i = 0; i < count; i++) unsigned()
    }
    if (opcode >= 0x02 && opcode <= 0x04) return skip(1) // block, loop, if: a type
    // br, br_if, call, locals, globals
    if (opcode === 0x0c || opcode === 0x0d || opcode === 0x10 || (opcode >= 0x20 && opcode <= 0x24)) return skip(1)
    if (opcode === 0x0e) return skip(unsigned() + 1) // br_table
    if (opcode === 0x11) return skip(2) // call_indirect
    if (opcode >= 0x28 && opcode <= 0x3e) return skip(2) // loads and stores: alignment, offset
    // memory.size, .grow, i32.const, i64.const
    if (opcode === 0x3f || opcode === 0x40 || opcode === 0x41 || opcode === 0x42) return skip(1)
    if (opcode === 0x43) return void (at += 4)
    if (opcode === 0x44) return void (at += 8)
    if (opcode === 0xfc) {
      const extended = unsigned()
      if (extended <= 7) return // saturating truncations
      if (extended === 10) return skip(2) // memory.copy
      if (extended === 11) return skip(1) // memory.fill
    } else if (
      opcode <= 0x01 ||
      opcode === 0x05 ||
      opcode === 0x0b ||
      opcode === 0x0f ||
      opcode === 0x1a ||
      opcode === 0x1b ||
      (opcode >= 0x45 && opcode <= 0xc4)
    )
      return
    throw new TweedieError(
      'cpu-unavailable',
      `The kernels hold an instruction ${opcode.toString(16)} that toPlainSimd does not know: a defect of this build.`,
    )
  }
  const skipSimdImmediates = (opcode: number): void => {
    if (opcode <= 11 || opcode === 92 || opcode === 93) unsigned(), unsigned()
    else if (opcode === 12 || opcode === 13)
      at += 16 // constant, shuffle
    else if (opcode >= 21 && opcode <= 34)
      at += 1 // a lane
    else if (opcode >= 84 && opcode <= 91) unsigned(), unsigned(), (at += 1) // memory and a lane
  }

  const body = (type: number): Bytes[] => {
    const end = unsigned() + at
    const groups = unsigned()
    const declared = at
    let spare = parameters[type]
    for (let i = 0; i < groups; i++) {
      spare += unsigned()
      at++
    }
    // One more local, a v128.
    const parts: Bytes[] = [leb(groups + 1), module.subarray(declared, at), [1, 0x7b]]
    // [a, b, c] on the stack: keep c, multiply, take c back, add.
    const multiplyAdd = [0x21, ...leb(spare), 0xfd, 0xe6, 1, 0x20, ...leb(spare), 0xfd, 0xe4, 1]
    let copied = at
    while (at < end) {
      const from = at
      const opcode = module[at++]
      if (opcode !== 0xfd) skipImmediates(opcode)
      else {
        const simd = unsigned()
        if (simd === 0x105) {
          parts.push(module.subarray(copied, from), multiplyAdd)
          copied = at
        } else skipSimdImmediates(simd)
      }
    }
    parts.push(module.subarray(copied, end))
    return [leb(lengthOf(parts)), ...parts]
  }

  while (at < module.length) {
    const start = at
    const id = module[at++]
    const length = unsigned()
    const end = at + length
    if (id === 1) {
      for (let left = unsigned(); left > 0; left--) {
        at++ // 0x60: a function
        const count = unsigned()
        parameters.push(count)
        at += count
        const results = unsigned()
        at += results
      }
    }
    if (id === 3) for (let left = unsigned(); left > 0; left--) types.push(unsigned())
    if (id !== codeSection) out.push(module.subarray(start, end))
    else {
      const section = [leb(unsigned()), ...types.flatMap(body)]
      out.push([codeSection], leb(lengthOf(section)), ...section)
    }
    at = end
  }
  const result = new Uint8Array(lengthOf(out))
  let length = 0
  for (const part of out) {
    result.set(part, length)
    length += part.length
  }
  return result
}

type Bytes = ArrayLike<number>

const lengthOf = (parts: readonly Bytes[]): number => parts.reduce((sum, { length }) => sum + length, 0)
