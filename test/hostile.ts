/**
 * What strangers send: the small files of `../shared/cases/hostile`, files of ours with faults in them, and what a
 * reader must do with any of them: read it, or refuse it in one short sentence, within 2 s of CPU time and 500 MB.
 *
 * A file `hostile-*.test.ts` runs in both projects: with 200 inputs a property in `npm test`, with 5,000 in
 * `npm run test:long`.
 */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect } from 'vitest'
import { TweedieError, type ErrorCode } from '../src/errors.ts'
import { shared } from './shared.ts'

/** Inputs of a property. */
export const numRuns = process.env.TWEEDIE_LONG ? 5000 : 200

/** The path of a case, `redos.npz` say; its README says what it does. */
export const hostile = (name: string): string => shared(`cases/hostile/${name}`)

/** The bytes of a case. */
export const hostileBytes = (name: string): Uint8Array => readFileSync(hostile(name))

/** What scores of four images say of themselves, but for their kind. */
export const scoresHead = {
  program: 'tweedie',
  data: 'cells',
  fingerprint: 'f',
  model: 'm',
  schedule: 'linear',
  diffusionSteps: 1000,
  respacing: '100',
  t: 60,
  timestep: 600,
  distance: 'L2',
  draws: 1,
  seed: 0,
  conditional: false,
  indices: [0, 1, 2, 3],
} as const

/** Codes of what is wrong with a file; the others are defects of ours. */
const refusals: readonly ErrorCode[] = ['format', 'option', 'weights', 'non-finite', 'out-of-memory']

/**
 * What `run` gives, if it takes at most 2 s and 500 MB. Time is that of the CPU, which other processes do not lengthen.
 * Memory is the process's peak above what it had, as far as it is a new one: a file of tests is a process of its own.
 */
export async function bounded<T>(run: () => T | Promise<T>): Promise<T> {
  const [before, held] = [process.cpuUsage(), process.memoryUsage.rss()]
  const peak = (): number => process.resourceUsage().maxRSS * 1024
  const former = peak()
  try {
    return await run()
  } finally {
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 1e6, 'seconds of CPU time').toBeLessThan(2)
    if (peak() > former) expect((peak() - held) / 1e6, 'megabytes').toBeLessThan(500)
  }
}

/** That a message is one that a terminal may show: short, and without escapes. */
export function expectShown(message: string): void {
  expect(message.length, message.slice(0, 500)).toBeLessThan(1500)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what moves a terminal's cursor
  expect(message).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/)
}

/** The error with which `read` refuses, or null where it reads; anything else that it does fails the test. */
export async function survives(read: () => unknown): Promise<TweedieError | null> {
  return bounded(async () => {
    try {
      await read()
      return null
    } catch (error) {
      if (!(error instanceof TweedieError)) throw error
      expect(refusals, error.message).toContain(error.code)
      expectShown(error.message)
      return error
    }
  })
}

const numbers = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff]

/** A file with 1 to 4 faults: other bytes and numbers, pieces that are missing, doubled or elsewhere, an early end. */
export function damaged(file: Uint8Array): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  const place = fc.nat(Math.max(0, file.length - 1))
  const fault = fc.oneof(
    fc.record({ kind: fc.constant('byte' as const), at: place, value: fc.nat(255) }),
    fc.record({ kind: fc.constant('number' as const), at: place, value: fc.constantFrom(...numbers) }),
    fc.record({ kind: fc.constantFrom('cut' as const, 'double' as const), at: place, length: fc.nat(64) }),
    fc.record({ kind: fc.constant('copy' as const), at: place, to: place, length: fc.nat(64) }),
    fc.record({ kind: fc.constant('insert' as const), at: place, bytes: fc.uint8Array({ maxLength: 24 }) }),
    fc.record({ kind: fc.constant('end' as const), at: place }),
  )
  return fc.array(fault, { minLength: 1, maxLength: 4 }).map((faults) => {
    let bytes = Uint8Array.from(file)
    for (const one of faults) {
      const at = Math.min(one.at, bytes.length)
      const parts = (...list: readonly Uint8Array[]): void => {
        bytes = Uint8Array.from(Buffer.concat(list))
      }
      if (one.kind === 'byte') bytes.fill(one.value, at, at + 1)
      else if (one.kind === 'number') for (let i = 0; i < 4; i++) bytes.fill(one.value >>> (8 * i), at + i, at + i + 1)
      else if (one.kind === 'cut') parts(bytes.subarray(0, at), bytes.subarray(at + one.length))
      else if (one.kind === 'double') parts(bytes.subarray(0, at + one.length), bytes.subarray(at))
      else if (one.kind === 'copy') bytes.copyWithin(Math.min(one.to, bytes.length), at, at + one.length)
      else if (one.kind === 'insert') parts(bytes.subarray(0, at), one.bytes, bytes.subarray(at))
      else bytes = bytes.slice(0, at)
    }
    return bytes
  })
}
