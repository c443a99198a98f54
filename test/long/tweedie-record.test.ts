/**
 * A run of `Tweedie` has a run.json: the one that the command line writes of the same run, from which `tweedie replay`
 * draws the same pictures. Runs of a page are in test/long/record.test.ts.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { l2 } from '../../src/diffusion/index.ts'
import { mul } from '../../src/tensor/index.ts'
import { Tweedie, type RunRecord, type TweedieSampleOptions, type TweedieStep } from '../../src/tweedie/index.node.ts'
import { temporaryFolder, tweedie, weights } from '../cli.ts'
import { testDevice } from '../op.ts'
import { base, baseOfClasses, classifier, cosine, writeModel } from '../small-models.ts'

const out = temporaryFolder()
const cpu = { backend: 'cpu', simd: 'plain' } as const
const onCPU = ['--backend', 'cpu', '--simd', 'plain']

async function last(model: Tweedie, options: TweedieSampleOptions): Promise<TweedieStep> {
  let step: TweedieStep | undefined
  for await (const one of model.sample(options)) step = one
  return step!
}

/** The record as a page would keep it: a file in a folder of its own. */
function written(name: string, record: RunRecord): string {
  mkdirSync(out(name))
  const path = join(out(name), 'run.json')
  writeFileSync(path, JSON.stringify(record))
  return path
}

const readRecord = (folder: string): RunRecord =>
  JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as RunRecord

/** What two records of one run have in common: not the time, the folder, and what the command line adds. */
const lasting = ({ options, samples, differs, metric, started, seconds, ...rest }: RunRecord): object => {
  const { out: _, ...words } = options
  return { ...rest, options: words, samples: samples.map(({ metric: __, ...sample }) => sample) }
}

async function drawnBy(argv: readonly string[], folder: string): Promise<RunRecord> {
  const run = await tweedie(['sample', ...argv, '--out', folder, ...onCPU])
  expect(run.code, run.err.join('\n')).toBe(0)
  return readRecord(folder)
}

/** Replays a record into its own folder, where no pictures are: all come out the same. */
async function replayed(path: string, ...argv: readonly string[]): Promise<void> {
  const { samples } = JSON.parse(readFileSync(path, 'utf8')) as RunRecord
  const run = await tweedie(['replay', path, ...argv])
  expect(run.code, run.err.join('\n')).toBe(0)
  expect(run.out.join('\n')).toContain(`${samples.length} of ${samples.length} pictures are the same to the byte.`)
}

describe('the shipped set', () => {
  let model: Tweedie
  beforeAll(async () => void (model = await Tweedie.load('bccd32', cpu)))
  afterAll(() => model.dispose())

  test.each<[string, TweedieSampleOptions]>([
    ['plain', {}],
    ['self-guided', { method: 'self-guided', selfGuidance: { every: 3 } }],
    ['minority-guided', { method: 'minority-guided', target: [5, 9], scale: 2 }],
    ['boost-and-skip', { method: 'boost-and-skip', skip: 2 }],
  ])('%s: replay draws the same pictures of its record, and writes the same record', async (name, options) => {
    const record = await model.record(await last(model, { number: 1, steps: 20, seed: 4, ...options }))
    await replayed(written(name, record))
    const theirs = readRecord(out(name))
    expect(lasting(record)).toEqual(lasting(theirs))
    expect(Object.keys(record.options)).toEqual(Object.keys(theirs.options).filter((option) => option !== 'out'))
    const [{ samples, seconds, firstStep, scoring }, ...more] = record.seconds.batches
    expect([samples, more]).toEqual([1, []])
    expect(firstStep).toBeGreaterThan(0)
    expect(seconds).toBeGreaterThan(firstStep)
    expect(scoring).toBeGreaterThan(0)
  })

  test('scores that were asked for are not computed again, and a step is recorded as often as one likes', async () => {
    const step = await last(model, { number: 2, steps: 2, scores: true })
    const record = await model.record(step)
    expect(record.samples.map(({ score }) => score)).toEqual([...step.scores!])
    expect(await model.record(step)).toEqual(record)
    const { scores: _, ...unscored } = await last(model, { number: 2, steps: 2 })
    await expect(model.record(unscored)).rejects.toMatchObject({ code: 'option' })
  })

  test('a record of a page calls the shipped files by name, and replay finds them', async () => {
    const record = await model.record(await last(model, { number: 1, steps: 2, method: 'minority-guided' }))
    const named = Object.entries(record.options).map(([option, word]) =>
      option in record.sha256 ? [option, basename(String(word))] : [option, word],
    )
    const page = { ...record, options: Object.fromEntries(named) as RunRecord['options'] }
    expect(page.options).toMatchObject({ model: 'bccd32-adm.safetensors', features: 'bccd32-features.safetensors' })
    await replayed(written('by-name', page))
    const path = written('other-files', { ...page, sha256: { ...page.sha256, model: '0'.repeat(64) } })
    const run = await tweedie(['replay', path])
    expect(run.err.join('\n')).toMatch(/bccd32-adm\.safetensors is not the file of the run: its sha256 is [0-9a-f]{64}/)
  })

  test('what nothing can replay has no record, and says why', async () => {
    const short = { number: 1, steps: 2 }
    const cases: [TweedieSampleOptions, RegExp][] = [
      [{ guidances: () => [(x) => mul(x, 0)] }, /^record: the run has guidances of your own, for which run\.json/],
      [{ method: 'self-guided', selfGuidance: { every: 1, distance: l2 } }, /^record: the run has a distance that/],
    ]
    for (const [options, message] of cases)
      await expect(model.record(await last(model, { ...short, ...options }))).rejects.toMatchObject({
        code: 'option',
        message: expect.stringMatching(message),
      })
    using other = await Tweedie.load(weights, { ...cpu, distance: l2 })
    await expect(other.record(await last(other, short))).rejects.toThrow(/^record: the run has a distance that/)
    await expect(model.record(await last(other, short))).rejects.toThrow(/^record: expected the last step of a run of/)
    for await (const step of model.sample(short)) {
      if (step.done === 1) await expect(model.record(step)).rejects.toThrow(/^record: expected the last step/)
      else
        await expect(model.record(step, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
    }
  })
})

describe('files of your own', () => {
  test.each<[string, TweedieSampleOptions, string[]]>([
    [
      'classes and levels, ddim, unclipped',
      {
        ...{ labels: [2, 0], classifierTarget: [4, 5], classifierScale: 2, target: 3, sampler: 'ddim', eta: 0.5 },
        ...{ clipDenoised: false, selfGuidance: { weight: 0.2, every: 1, scale: 'fixed', through: 'both' } },
      },
      [
        ...['--labels', '2,0', '--target', '4,5', '--classifier-scale', '2', '--minority-target', '3'],
        ...['--sampler', 'ddim', '--eta', '0.5', '--no-clip-denoised', '--guide-weight', '0.2', '--guide-every', '1'],
        ...['--guide-scale', 'fixed', '--guide-through', 'both'],
      ],
    ],
    ['sections of steps', { labels: [1], steps: [3, 4], classifierScale: 0 }, ['--labels', '1', '--respacing', '3,4']],
  ])('%s', async (name, options, argv) => {
    const diffusion = { ...cosine, diffusionSteps: 8, meanType: 'v' } as const
    const path = await writeModel(out(`${name}.safetensors`), baseOfClasses, { diffusion })
    const classes = await writeModel(out(`${name}-classes.safetensors`), classifier, { seed: 2, diffusion })
    const levels = await writeModel(out(`${name}-levels.safetensors`), classifier, { seed: 3, diffusion })
    using model = await Tweedie.load(path, {
      ...cpu,
      classifier: classes,
      minorityClassifier: levels,
      distance: 'l1.5',
    })
    const record = await model.record(await last(model, { number: 3, seed: 7, batch: 2, ...options }))
    const guided = options.target === undefined ? [] : ['--classifier', classes, '--minority-classifier', levels]
    const command = ['--model', path, ...guided, '--distance', 'l1.5', '--number', '3', '--batch', '2', '--seed', '7']
    expect(lasting(record)).toEqual(lasting(await drawnBy([...command, ...argv], out(`${name}-cli`))))
    await replayed(written(name, record))
  })

  test('of WebGPU: the same pictures on the same adapter, by the kernels of the record', async () => {
    const path = await writeModel(out('on-webgpu.safetensors'), base)
    using model = await Tweedie.load(path, { device: await testDevice('webgpu') })
    const record = await model.record(await last(model, { number: 2, steps: 3, selfGuidance: { every: 1 } }))
    expect(record.adapter.backend).toBe('webgpu')
    await replayed(written('on-webgpu', record))
  })

  test('a file without a name is asked for, by its hash', async () => {
    const path = await writeModel(out('plain.safetensors'), base)
    const loading = new AbortController()
    using model = await Tweedie.load(readFileSync(path), { ...cpu, signal: loading.signal })
    // Of loading, which is over.
    loading.abort()
    const record = await model.record(await last(model, { number: 1, steps: 2 }))
    expect(record.options.model).toBe('model')
    const at = written('unnamed', record)
    const run = await tweedie(['replay', at])
    expect(run.code).not.toBe(0)
    expect(run.err.join('\n')).toContain(
      `model is not there: --model FILE says where it is now. Its sha256 is ${record.sha256.model}.`,
    )
    await replayed(at, '--model', path)
  })
})
