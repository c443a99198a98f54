/**
 * What a run leaves and reads back when it goes on, as it comes from a stranger: the state of a training, its list of
 * images, unfinished scores, the record of a recipe.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { recordIn } from '../src/cli/commands/recipe.ts'
import { bitsIn, type BitsHead } from '../src/cli/scoring/bits-run.ts'
import { scoresIn, type ScoresHead } from '../src/cli/scoring/unfinished-scores.ts'
import { readImageFiles } from '../src/data/image-files.node.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import { encodeSealed, openSealed } from '../src/io/sealed.ts'
import { countersOf, modelOfState, runOfState } from '../src/train/state.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { damaged, hostile, numRuns, scoresHead, survives } from './hostile.ts'
import { concat } from './io-fixtures.ts'
import { smallTraining, writeSmallData } from './kills.ts'
import { describeShared } from './shared.ts'

const at = temporaryFolder()

/** One of the values of an object, or of what it holds, is any other value of JSON. */
function changed(value: object): fc.Arbitrary<string> {
  const paths: string[][] = []
  const walk = (one: unknown, path: string[]): void => {
    if (path.length > 0) paths.push(path)
    if (typeof one !== 'object' || one === null) return
    for (const key of Object.keys(one)) walk((one as Record<string, unknown>)[key], [...path, key])
  }
  walk(value, [])
  return fc.tuple(fc.constantFrom(...paths), fc.jsonValue()).map(([path, other]) => {
    const copy = structuredClone(value) as Record<string, unknown>
    let place = copy
    for (const key of path.slice(0, -1)) place = place[key] as Record<string, unknown>
    place[path.at(-1)!] = other
    return JSON.stringify(copy)
  })
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** Faults in the bytes, or another value in the place of one. */
const faulty = (value: object): fc.Arbitrary<Uint8Array> =>
  fc.oneof(damaged(utf8(JSON.stringify(value))), changed(value).map(utf8))

const property = (files: fc.Arbitrary<Uint8Array>, name: string, read: (bytes: Uint8Array) => Promise<unknown>) =>
  fc.assert(
    fc.asyncProperty(files, async (bytes) => {
      const error = await survives(() => read(bytes))
      if (error) expect(error.message).toContain(name)
    }),
    { numRuns },
  )

describe('the state of a training', () => {
  const row = {
    step: 2,
    images: 4,
    steps: 1,
    counts: [1],
    gradientNorm: 0.5,
    lr: 0.1,
    values: { loss: { all: 1, byGroup: [1, null] } },
  }
  const counters = {
    step: 2,
    open: row,
    rows: [row],
    evaluations: [{ step: 2 }],
    reviewed: 2,
    history: [{ step: 1, what: 'a' }],
  }
  const config = { attention_resolutions: [2], channel_mult: [1, 2] }
  const run = { data: 'f', steps: 4, config: JSON.stringify(config) }
  const metadata = { kind: 'tweedie-training', version: '2', run: JSON.stringify(run) }
  const tensors = [['model.w', { shape: [3], data: Float32Array.of(1, 2, 3) }]] as const
  const readBack = async (bytes: Uint8Array): Promise<void> => {
    const state = await openSealed(await openCheckpoint(bytesSource(bytes, 'state.safetensors')))
    runOfState(state)
    countersOf(state)
    for (const tensor of modelOfState(state)!.tensors.values()) await tensor.read()
  }

  test('with faults', async () => {
    const file = concat(...(await encodeSealed(tensors, { ...metadata, counters: JSON.stringify(counters) })))
    await readBack(file)
    await property(damaged(file), 'state.safetensors', readBack)
  })

  // Whoever makes a state seals it, too.
  test.each(['run', 'counters', 'config'] as const)('sealed, of any value of JSON in its %s', async (what) => {
    const whole = { ...metadata, counters: JSON.stringify(counters) }
    const files = {
      run: changed(run).map((json) => ({ ...whole, run: json })),
      counters: changed(counters).map((json) => ({ ...whole, counters: json })),
      config: changed(config).map((json) => ({ ...whole, run: JSON.stringify({ ...run, config: json }) })),
    }[what]
    await fc.assert(
      fc.asyncProperty(files, async (said) => {
        const error = await survives(async () => readBack(concat(...(await encodeSealed(tensors, said)))))
        if (error) expect(error.message).toContain('state.safetensors')
      }),
      { numRuns },
    )
  })
})

test('images.jsonl: lines that are ours, or none', async () => {
  const lines = [
    ['a.png', 'ab', 8, 9, 3, '1 2', 1],
    ['b/c.png', 'cd', 4, 4, 1, '3 4', 0],
  ].map((line) => JSON.stringify(line))
  await fc.assert(
    fc.asyncProperty(fc.oneof(damaged(utf8(`${lines.join('\n')}\n`)), fc.json().map(utf8)), async (bytes) => {
      writeFileSync(at('images.jsonl'), bytes)
      let found: Awaited<ReturnType<typeof readImageFiles>> = new Map()
      expect(await survives(async () => (found = await readImageFiles(at('images.jsonl'))))).toBeNull()
      for (const [name, file] of found) {
        expect([name, typeof file.sha256, typeof file.stamp, typeof file.whole]).toEqual([
          file.name,
          'string',
          'string',
          'boolean',
        ])
        expect(Math.min(file.width, file.height)).toBeGreaterThan(0)
        expect([1, 3]).toContain(file.channels)
      }
    }),
    { numRuns },
  )
})

test('unfinished scores', async () => {
  const head: Omit<ScoresHead, 'kind'> & { readonly kind: string } = {
    ...scoresHead,
    kind: 'unfinished-minority-scores',
  }
  const file = { ...head, scores: [0.25, 0.5] }
  const read = async (bytes: Uint8Array): Promise<readonly number[]> => {
    const known = scoresIn(text(bytes), 's.json.unfinished', head)
    for (const score of known) expect(Number.isFinite(score)).toBe(true)
    return known
  }
  expect(await read(utf8(JSON.stringify(file)))).toEqual([0.25, 0.5])
  await property(faulty(file), 's.json.unfinished', read)
})

test('nll.json', async () => {
  const process = {
    ...({ schedule: 'linear', diffusionSteps: 3, rescaleTimesteps: false, respacing: '' } as const),
    ...({ meanType: 'epsilon', varianceType: 'learnedRange' } as const),
  }
  const head: BitsHead = {
    ...{ program: 'tweedie', kind: 'bits-per-dimension', data: 'd', fingerprint: 'f', model: 'm', process },
    ...{ clipDenoised: true, seed: 0, steps: 3, images: 4 },
  }
  const terms = { vb: [1, 2, 3], mse: [4, 5, 6], xstart_mse: [7, 8, 9] }
  const file = { status: 'unfinished', ...head, totalBpd: [3, 4], priorBpd: [0.5, 0.25], terms }
  const read = async (bytes: Uint8Array): Promise<readonly number[]> => {
    const found = bitsIn(text(bytes), 'nll.json', head)
    for (const value of [found.totalBpd, found.priorBpd, ...Object.values(found.terms)].flat())
      expect(Number.isFinite(value)).toBe(true)
    return found.totalBpd
  }
  expect(await read(utf8(JSON.stringify(file)))).toEqual([3, 4])
  await property(faulty(file), 'nll.json', read)
})

test('recipe.json', async () => {
  const stage = { command: 'score', argv: ['--model', 'm'], finished: '2026-11-27', seconds: 3 }
  const measured = { on: 'cpu', pixelsPerSecond: 5, imagesPerSecond: { 8: { diffusion: 1, classifier: 2 } } }
  const record = { program: 'tweedie', kind: 'recipe', recipe: 'cells', stages: [stage], measured }
  const read = async (bytes: Uint8Array): Promise<unknown> => recordIn(text(bytes), 'recipe.json', 'cells')
  expect(await read(utf8(JSON.stringify(record)))).toEqual(record)
  await property(faulty(record), 'recipe.json', read)
})

describeShared('the cases', () => {
  test('html-state: a review that is a tag reaches no report', async () => {
    const out = at('html-state')
    mkdirSync(out)
    copyFileSync(hostile('html-state/state.safetensors'), at('html-state/state.safetensors'))
    writeSmallData(at('data.npz'))
    const { code, err } = await tweedie(smallTraining(at('data.npz'), out, '--images', '64', '--resume'))
    expect(code).toBe(1)
    expect(err.join('\n')).toMatch(/html-state\/state\.safetensors: evaluations\[1\]\.images: expected/)
    expect(existsSync(at('html-state/report.html')), readdirSync(out).join()).toBe(false)
  })
})
