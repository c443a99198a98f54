/**
 * The streams of the generator: two that share a number would draw the same noise for two things, and
 * nothing would say so.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { purposes } from '../src/tensor/purposes.ts'

test('no two purposes share a number', () => {
  const numbers = Object.values(purposes)
  expect(new Set(numbers).size).toBe(numbers.length)
  for (const number of numbers) expect(Number.isInteger(number) && number >= 0 && number < 128).toBe(true)
})

test('the numbers are those that seeds have meant so far', () => {
  expect(purposes).toMatchObject({
    initial: 0,
    step: 1,
    renoise: 2,
    score: 3,
    target: 4,
    attributes: 5,
    upsampleInitial: 6,
    upsampleStep: 7,
    marginal: 8,
    label: 9,
    parameters: 16,
    trainNoise: 32,
    trainTimestep: 33,
    trainDropout: 34,
    views: 40,
    featureParameters: 41,
    featureNoise: 42,
    distortion: 43,
    shuffle: 64,
    augment: 65,
    select: 66,
  })
})

/**
 * What `source` passes as a purpose and is neither of the table nor a type, and numbers it names as purposes;
 * examples in comments apart.
 */
function strangers(source: string): string[] {
  const code = source.replace(/^ *\*.*$/gm, '')
  const passed = [...code.matchAll(/\bpurpose\??: *([^,;)}\n]+)/g)].map((match) => match[1].trim())
  const named = [...code.matchAll(/[pP]urposes? = (\d|\{[^}\n]*: \d)/g)].map((match) => match[0])
  return [
    ...passed.filter((given) => !/^(p|\w+P)urposes(\.\w+|\[purpose\])$|^(\w*Purpose|number|'?[iu]32'?)$/.test(given)),
    ...named,
  ]
}

describe('what src gives the generator', () => {
  test('a number of its own is seen', () => {
    for (const source of [
      '{ seed, draw: 0, purpose: 43 }',
      'const purpose = 40\n',
      'const trainPurposes = { noise: 32, timestep: 33 } as const',
      '{ purpose: base + 1 }',
      '(purpose = 3) => {}',
    ]) {
      expect(strangers(source), source).toHaveLength(1)
    }
    expect(
      strangers('{ seed, draw, purpose: purposes.target }, (seed: number, purpose: Purpose, first: number)'),
    ).toEqual([])
  })

  test('is in the table', () => {
    const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && !file.endsWith('purposes.ts'),
    )
    expect(files.length).toBeGreaterThan(200)
    const uses = files.flatMap((file) =>
      strangers(readFileSync(join('src', file), 'utf8')).map((given) => `${file}: ${given}`),
    )
    expect(uses).toEqual([])
  })
})
