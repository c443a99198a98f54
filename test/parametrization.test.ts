/**
 * What a network predicts, and the variance of one without a head for it: in settings and files, on the command line,
 * and for the velocity by algebra, since no published model has it. Against the reference: goldens-fidelity.test.ts.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import {
  calcBpd,
  GaussianDiffusion,
  GivenNoise,
  processOf,
  sampleLoop,
  trainingLosses,
  type Denoiser,
  type MeanType,
} from '../src/diffusion/index.ts'
import { configMetadata } from '../src/nn/config-metadata.ts'
import { parseDiffusionSettings, type DiffusionSettings, type ModelConfig } from '../src/nn/index.ts'
import { grad, mul, sub, type Tensor } from '../src/tensor/index.ts'
import { temporaryFolder, tensorIn, tweedie } from './cli.ts'
import { npy, npz } from './data-fixtures.ts'
import { expectOutput } from './golden.ts'
import { deviceTest, expectClose, numbers, onCPU } from './op.ts'
import { describeShared, shared } from './shared.ts'
import { base, classifier, cosine, writeModel } from './small-models.ts'
import { inputX, modelA } from './spec-models.ts'

/** The same network without variance head. */
const headless: ModelConfig = { ...base, outChannels: 3 }

describe('settings and files', () => {
  const written = (settings: DiffusionSettings): string => configMetadata(base, settings).diffusion!

  test.each([
    [{}, {}],
    [{ meanType: 'epsilon' }, { predict: 'epsilon' }],
    [{ meanType: 'xStart' }, { predict_xstart: true }],
    [
      { meanType: 'previousX', sigmaSmall: true },
      { predict: 'previous-x', sigma_small: true },
    ],
    [
      { meanType: 'v', learnSigma: false },
      { predict: 'v', learn_sigma: false },
    ],
  ] satisfies [Partial<DiffusionSettings>, object][])('%j is %j in a file', (settings, words) => {
    expect(JSON.parse(written({ ...cosine, ...settings }))).toEqual({
      noise_schedule: 'cosine',
      diffusion_steps: 1000,
      rescale_timesteps: false,
      ...words,
    })
    expect(parseDiffusionSettings(written({ ...cosine, ...settings }))).toEqual({ ...cosine, ...settings })
  })

  test('predict_xstart false is epsilon; a contradiction and a word that is none are refused', () => {
    const said = { noise_schedule: 'linear', diffusion_steps: 1000 }
    expect(parseDiffusionSettings({ ...said, predict_xstart: false }).meanType).toBe('epsilon')
    expect(() => parseDiffusionSettings({ ...said, predict_xstart: false, predict: 'v' })).toThrow(
      'predict "v" contradicts predict_xstart false',
    )
    expect(() => parseDiffusionSettings({ ...said, predict: 'velocity' })).toThrow(
      'predict must be one of epsilon, xstart, previous-x, v, found "velocity"',
    )
  })

  test('a file spells the process as guided-diffusion does, in an order that stays', () => {
    const all = {
      ...cosine,
      learnSigma: true,
      sigmaSmall: true,
      rescaleLearnedSigmas: true,
      useKl: false,
      meanType: 'v',
    } as const
    expect(written(all)).toBe(
      '{"noise_schedule":"cosine","diffusion_steps":1000,"rescale_timesteps":false,' +
        '"learn_sigma":true,"sigma_small":true,"rescale_learned_sigmas":true,"use_kl":false,"predict":"v"}',
    )
    expect(written(parseDiffusionSettings(written(all)))).toBe(written(all))
  })

  test('the variance follows the head, then sigma_small', () => {
    const type = (settings: Partial<DiffusionSettings>, config: ModelConfig): string =>
      processOf({ config, diffusion: { ...cosine, ...settings } }).varianceType
    expect(type({ sigmaSmall: true }, base)).toBe('learnedRange')
    expect(type({}, headless)).toBe('fixedLarge')
    expect(type({ sigmaSmall: true }, headless)).toBe('fixedSmall')
    expect([type({ learnSigma: true }, classifier), type({}, classifier)]).toEqual(['learnedRange', 'fixedLarge'])
  })

  test('of a file that says nothing no process is guessed', () => {
    expect(() => processOf({ config: base })).toThrow(/does not say what process/)
  })
})

describe('the velocity', () => {
  const process = (meanType: MeanType, respacing = '10'): GaussianDiffusion =>
    new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing, meanType, varianceType: 'fixedLarge' })

  /** What a network of `meanType` says that knows the image `xStart`: the same thing in other words. */
  const oracle =
    (diffusion: GaussianDiffusion, xStart: Tensor, told: readonly number[]): Denoiser =>
    (x, [timestep]) => {
      const {
        tables: {
          sqrtAlphaBar: [...a],
          sqrtOneMinusAlphaBar: [...b],
        },
      } = diffusion.process
      const t = told.indexOf(timestep)
      const epsilon = mul(sub(x, mul(xStart, a[t])), 1 / b[t])
      return diffusion.meanType === 'v' ? sub(mul(epsilon, a[t]), mul(xStart, b[t])) : epsilon
    }

  deviceTest(
    'is the same sampler as that of epsilon, step by step',
    async (device) => {
      using xStart = device.tensor(numbers(96, 1), [2, 3, 4, 4])
      using xT = device.tensor(numbers(96, 2), [2, 3, 4, 4])
      using draws = device.tensor(numbers(960, 3), [10, 2, 3, 4, 4])
      for (const method of ['ancestral', 'ddim'] as const) {
        const found: Float32Array[][] = [[], []]
        for (const [k, meanType] of (['epsilon', 'v'] as const).entries()) {
          const diffusion = process(meanType)
          const told = Array.from({ length: 10 }, (_, t) => diffusion.process.modelTimestep(t))
          for await (const { x } of sampleLoop(diffusion, oracle(diffusion, xStart, told), {
            noise: new GivenNoise(xT, draws),
            method,
          }))
            found[k].push(await x.read())
        }
        // By way of epsilon the first x_0 has the rounding of x, 6e-8, over sqrt(abar) = 5e-5; DDIM hands it on.
        found[0].forEach((values, i) => expectClose(found[1][i], values, 1e-3, `${method}, step ${i}`))
        expectClose(found[1].at(-1)!, await xStart.read(), 1e-5, `${method}: the image it knows`)
      }
    },
    onCPU,
  )

  deviceTest(
    'has the losses of epsilon: the bound the same, the squared error over abar',
    async (device) => {
      using xStart = device.tensor(numbers(96, 1), [2, 3, 4, 4])
      using noise = device.tensor(numbers(96, 2), [2, 3, 4, 4])
      using error = device.tensor(numbers(96, 4), [2, 3, 4, 4])
      const losses = async (
        meanType: MeanType,
        lossType: 'mse' | 'kl',
        t: number,
      ): Promise<{ loss: Float32Array; byError: Float32Array }> => {
        const diffusion = process(meanType)
        const { sqrtAlphaBar: a, sqrtOneMinusAlphaBar: b } = diffusion.process.tables
        // epsilon = sqrt(1 - abar) x + sqrt(abar) v, so an error of v is sqrt(abar) of it in epsilon.
        const said = (): Tensor =>
          meanType === 'epsilon' ? sub(noise, mul(error, a[t])) : sub(sub(mul(noise, a[t]), mul(xStart, b[t])), error)
        const {
          value: loss,
          gradients: [byError],
        } = device.scope(() =>
          grad(() => trainingLosses(diffusion, said, xStart, [t, t], noise, { lossType }).loss, [error]),
        )
        const read = { loss: await loss.read(), byError: await byError.read() }
        for (const tensor of [loss, byError]) tensor.dispose()
        return read
      }
      for (const t of [0, 1, 5, 8]) {
        const abar = process('v').process.tables.alphaBar[t]
        const [e, v] = [await losses('epsilon', 'mse', t), await losses('v', 'mse', t)]
        expectClose(
          e.loss.map((x) => x / abar),
          v.loss,
          1e-5,
          `mse at ${t}`,
        )
        expectClose(
          e.byError.map((x) => x / abar),
          v.byError,
          1e-5,
          `its gradient at ${t}`,
        )
        const [ek, vk] = [await losses('epsilon', 'kl', t), await losses('v', 'kl', t)]
        expectClose(ek.loss, vk.loss, 1e-4, `bound at ${t}`)
        expectClose(ek.byError, vk.byError, 1e-4, `its gradient at ${t}`)
      }
    },
    onCPU,
  )

  deviceTest(
    'the bound of a network, step by step, is that of its losses',
    async (device) => {
      using model = await modelA(device)
      using xStart = device.scope(() => mul(inputX(device), 0.9))
      using noise = device.tensor(numbers(384, 5), [2, 3, 8, 8])
      const diffusion = new GaussianDiffusion({
        schedule: 'cosine',
        diffusionSteps: 1000,
        respacing: '10',
        meanType: 'v',
      })
      const denoiser: Denoiser = (x, t) => model.forward(x, t)
      const { vb } = await calcBpd(diffusion, denoiser, xStart, { noise: { step: () => noise }, clipDenoised: false })
      for (const t of [0, 4, 9]) {
        const made = device.scope(() => trainingLosses(diffusion, denoiser, xStart, [t, t], noise, { lossType: 'kl' }))
        expectClose(await made.loss.read(), vb[t], 1e-4, `bound at ${t}`)
        for (const tensor of new Set(Object.values(made) as Tensor[])) tensor.dispose()
      }
    },
    onCPU,
  )
})

describe('on the command line', () => {
  const at = temporaryFolder()
  const run = async (...argv: string[]): Promise<string[]> => {
    const { code, out, err } = await tweedie(argv.concat('--backend', 'cpu', '--threads', '1'))
    expect(code, err.join('\n')).toBe(0)
    return out
  }
  const record = (folder: string): RunRecord =>
    JSON.parse(readFileSync(join(at(folder), 'run.json'), 'utf8')) as RunRecord
  const sums = (folder: string): string[] => record(folder).samples.map(({ sha256 }) => sha256)
  const drawn = async (folder: string, model: string, ...more: string[]): Promise<string[]> => {
    await run(
      'sample',
      '--model',
      at(model),
      '--respacing',
      '4',
      '--number',
      '1',
      '--distance',
      'l2',
      '--out',
      at(folder),
      ...more,
    )
    return sums(folder)
  }

  test('what train diffusion was told is in its file, and sample and score go by it', async () => {
    writeFileSync(
      at('data.npz'),
      npz({
        images: npy(
          '|u1',
          [8, 8, 8, 3],
          Uint8Array.from(numbers(8 * 192, 1), (v) => 127 + 100 * v),
        ),
      }),
    )
    const network = [
      '--num-channels',
      '32',
      '--channel-mult',
      '1',
      '--num-head-channels',
      '16',
      '--attention-resolutions',
      '8',
      '--no-learn-sigma',
      '--diffusion-steps',
      '20',
    ]
    await run(
      'train',
      'diffusion',
      '--data',
      at('data.npz'),
      ...network,
      '--predict',
      'v',
      '--sigma-small',
      '--images',
      '4',
      '--batch',
      '2',
      '--ema',
      '0.5',
      '--evaluate-on',
      '2',
      '--samples',
      '1',
      '--out',
      at('run'),
    )
    const model = join(at('run'), 'model.safetensors')
    await run('sample', '--model', model, '--respacing', '4', '--number', '1', '--distance', 'l2', '--out', at('drawn'))
    expect(record('drawn').options).toMatchObject({ predict: 'v', 'sigma-small': true, 'no-clip-denoised': false })
    await run('score', '--model', model, '--data', at('data.npz'), '--distance', 'l2', '--out', at('scores.json'))
    expect(JSON.parse(readFileSync(at('scores.json'), 'utf8'))).toMatchObject({ predict: 'v' })
    expect((await run('info', model)).join('\n')).toMatch(/predicts +v\b/)
  })

  test('options come before the file, and each makes a difference', async () => {
    await writeModel(at('headless'), headless)
    await writeModel(at('small'), headless, { diffusion: { ...cosine, sigmaSmall: true, meanType: 'xStart' } })
    const plain = await drawn('plain', 'headless')
    expect(record('plain').options).toMatchObject({ predict: 'epsilon', 'sigma-small': false })
    expect(await drawn('as-plain', 'small', '--predict', 'epsilon', '--sigma-small=false')).toEqual(plain)
    const as = await drawn('as-small', 'headless', '--predict-xstart', '--sigma-small')
    expect(await drawn('small-out', 'small')).toEqual(as)
    expect(
      new Set(
        [
          plain,
          as,
          await drawn('sigma', 'headless', '--sigma-small'),
          await drawn('v', 'headless', '--predict', 'v'),
        ].flat(),
      ).size,
    ).toBe(4)
    // A network of epsilon with formula weights estimates far outside [-1, 1].
    expect(await drawn('unclipped', 'headless', '--no-clip-denoised')).not.toEqual(plain)
    const { code, err } = await tweedie(['sample', '--model', at('headless'), '--predict', 'v', '--predict-xstart'])
    expect([code, err.at(-1)]).toEqual([1, expect.stringContaining('--predict v contradicts --predict-xstart')])
  })

  test('a run from before there were these options is replayed as it was drawn: FIXED_SMALL', async () => {
    await drawn('before', 'headless', '--sigma-small')
    const { predict, 'sigma-small': small, 'no-clip-denoised': unclipped, ...options } = record('before').options
    expect([predict, small, unclipped]).toEqual(['epsilon', true, false])
    writeFileSync(join(at('before'), 'run.json'), JSON.stringify({ ...record('before'), options }))
    const out = await run('replay', join(at('before'), 'run.json'), '--out', at('again'))
    expect(out.join('\n')).toContain('1 of 1 pictures are the same to the byte')
  })
})

describeShared("the command line draws the reference's trajectories", () => {
  const at = temporaryFolder()
  test.each([
    ['n1', 'nosig16', ['--schedule', 'linear', '--respacing', '20']],
    ['n1s', 'nosig16', ['--schedule', 'linear', '--respacing', '20', '--sigma-small']],
    ['x1', 'frac16', ['--schedule', 'cosine', '--respacing', '16', '--predict-xstart']],
    ['x2', 'nosig16', ['--schedule', 'linear', '--respacing', '16', '--predict', 'previous-x', '--sigma-small']],
    ['x4', 'frac16', ['--schedule', 'cosine', '--respacing', '8', '--no-clip-denoised']],
  ])('%s', async (name, weights, options) => {
    const golden = shared(`goldens/fidelity/${name}.io.safetensors`)
    const { code, err } = await tweedie([
      'sample',
      '--model',
      shared(`goldens/fidelity/${weights}.safetensors`),
      '--diffusion-steps',
      '1000',
      ...options,
      '--noise',
      golden,
      '--out',
      at(name),
      '--save',
      at(`${name}.safetensors`),
      '--backend',
      'cpu',
      '--threads',
      '2',
      '--distance',
      'l2',
    ])
    expect(code, err.join('\n')).toBe(0)
    expectOutput(
      (await tensorIn(at(`${name}.safetensors`), 'sample')).data,
      (await tensorIn(golden, 'sample')).data,
      name,
    )
  })
})
