/**
 * Every default of ours that is taken where a checkpoint or a command line is silent, against the reference's (gd,
 * id, mg, sg and bns are its repositories, by file: docs/glossary.md). A default that differs stands here with
 * its value and its reason; what reads a checkpoint must not differ at all, since it would be another model.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { Arguments, type Command } from '../src/cli/arguments.ts'
import { classifierNetworkOf } from '../src/cli/options/classifier.ts'
import { networkOf } from '../src/cli/options/network.ts'
import type { OptionTable } from '../src/cli/option.ts'
import { sampleOptions, sampleSettings, type SampleSettings } from '../src/cli/options/sample.ts'
import { sample } from '../src/cli/commands/sample.ts'
import { trainClassifier } from '../src/cli/commands/train-classifier.ts'
import { trainDiffusion } from '../src/cli/commands/train-diffusion.ts'
import { runSettings } from '../src/cli/options/training.ts'
import {
  GaussianDiffusion,
  l2,
  lossTypeOf,
  processOf,
  respace,
  scoreProcess,
  selfGuidance,
  type MinorityScores,
} from '../src/diffusion/index.ts'
import { parseConfig, parseDiffusionSettings, type DiffusionSettings } from '../src/nn/index.ts'
import { Device } from '../src/tensor/index.ts'
import { AdamW } from '../src/train/adamw.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { npy, npz } from './data-fixtures.ts'
import { numbers } from './op.ts'
import { base, cosine, writeModel } from './small-models.ts'

/** name, the reference's default, ours where it differs, and why. */
type Row = readonly [name: string, reference: unknown, ours?: unknown, why?: string]

/** Options as they are without any, but for those that have no default. */
const silent = <T extends OptionTable>(
  { options }: Command<T>,
  given: Partial<Record<keyof T, string>> = {},
): Arguments<T> => new Arguments(options, [], new Map(Object.entries(given) as [string, string][]))

const scratch = 'sized for small pictures that two cores train in an hour; the published networks are presets'
const adm = 'as every published ADM network has it; the reference gives it as a flag'

function table(
  title: string,
  source: string,
  rows: readonly Row[],
  found: () => Readonly<Record<string, unknown>>,
): void {
  describe(`${title} (${source})`, () => {
    test.each(rows.map((row) => ({ row, name: row[0] })))('$name', ({ row: [name, reference, ours, why] }) => {
      expect(Object.keys(found())).toContain(name)
      if (why === undefined) return expect(found()[name]).toEqual(reference)
      // A difference that is none any more is to leave the table.
      expect(ours).not.toEqual(reference)
      expect(found()[name], why).toEqual(ours)
    })
    test('the table lists every one of them', () =>
      expect(Object.keys(found()).sort()).toEqual(rows.map(([name]) => name).sort()))
  })
}

const needed = {
  image_size: 32,
  model_channels: 32,
  num_res_blocks: 1,
  attention_resolutions: [2],
  channel_mult: [1, 2],
}
const said = { noise_schedule: 'linear', diffusion_steps: 1000 }

describe('a checkpoint that is silent', () => {
  table(
    'its network',
    "gd unet.py, the constructor's arguments",
    [
      ['dropout', 0],
      ['convResample', true],
      ['numClasses', null],
      ['numHeads', 1],
      ['numHeadChannels', -1],
      ['numHeadsUpsample', undefined],
      ['useScaleShiftNorm', false],
      ['resblockUpdown', false],
      ['useNewAttentionOrder', false],
      ['superResolution', false],
    ],
    () => {
      const {
        kind: _,
        imageSize,
        inChannels,
        modelChannels,
        outChannels,
        numResBlocks,
        attentionResolutions,
        channelMult,
        ...rest
      } = parseConfig(needed, new Map()).config
      return { numHeadsUpsample: undefined, ...rest }
    },
  )

  table(
    'its process',
    'gd script_util.py, create_gaussian_diffusion',
    [
      ['rescaleTimesteps', false],
      ['meanType', 'epsilon'],
      ['varianceType', 'fixedLarge'],
      ['lossType', 'mse'],
      ['respacing', 1000],
      ['varianceWithHead', 'learnedRange'],
    ],
    () => {
      const settings = parseDiffusionSettings(said)
      const { rescaleTimesteps, meanType, varianceType } = processOf({
        config: { ...base, outChannels: 3 },
        diffusion: settings,
      })
      return {
        rescaleTimesteps,
        meanType,
        varianceType,
        lossType: lossTypeOf(settings),
        respacing: respace(settings).steps,
        varianceWithHead: processOf({ config: { ...base, outChannels: 6 }, diffusion: settings }).varianceType,
      }
    },
  )

  test('improved-diffusion rescales where it is silent (id script_util.py): its presets say so', () => {
    expect(parseDiffusionSettings(said).rescaleTimesteps).toBe(false)
    expect(parseDiffusionSettings({ ...said, rescale_timesteps: true }).rescaleTimesteps).toBe(true)
  })

  test('a configuration to train, silent on its outputs, has a variance head, unless learn_sigma is false', () => {
    // Ours: script_util.py has learn_sigma False. Every published U-Net has the head.
    const outputs = (more: object): number => parseConfig({ ...needed, ...more }, new Map()).config.outChannels
    expect([
      outputs({}),
      outputs({ in_channels: 1 }),
      outputs({ diffusion: said }),
      outputs({ diffusion: { ...said, learn_sigma: false } }),
    ]).toEqual([6, 2, 6, 3])
  })
})

const at = temporaryFolder()

describe('train diffusion', () => {
  test('a --config whose learn_sigma is not what its outputs say is refused before anything is trained', async () => {
    const file = at('config.json')
    const config = (more: object): Promise<unknown> => {
      writeFileSync(file, JSON.stringify({ ...needed, diffusion: { ...said, learn_sigma: false }, ...more }))
      return networkOf(silent(trainDiffusion, { config: file }), { size: 32, channels: 3, classes: null })
    }
    expect(await config({})).toMatchObject({ config: { outChannels: 3 } })
    await expect(config({ out_channels: 6 })).rejects.toThrow('learn_sigma false means 3 output channels')
  })

  let network: Awaited<ReturnType<typeof networkOf>>
  beforeAll(
    async () => void (network = await networkOf(silent(trainDiffusion), { size: 64, channels: 3, classes: null })),
  )

  table(
    'its network',
    'gd script_util.py, model_and_diffusion_defaults, at image_size 64',
    [
      ['modelChannels', 128, 64, scratch],
      ['numResBlocks', 2, 1, scratch],
      ['channelMult', [1, 2, 3, 4], [1, 2, 2], scratch],
      ['attentionResolutions', [4, 8], [4], `${scratch}: the smallest maps, 16 x 16 of 64`],
      ['numHeads', 4, 1, 'heads are given by their width, as in the published ADM networks'],
      ['numHeadChannels', -1, 32, scratch],
      ['numHeadsUpsample', undefined],
      ['useScaleShiftNorm', true],
      ['resblockUpdown', false, true, adm],
      ['useNewAttentionOrder', false, true, 'as the 64 x 64 networks have it, the smallest published'],
      ['dropout', 0],
      ['numClasses', null],
      ['convResample', true],
      ['superResolution', false],
      ['inChannels', 3],
      ['outChannels', 3, 6, adm],
    ],
    () => {
      const { kind: _, imageSize, ...rest } = network.config
      return { numHeadsUpsample: undefined, ...rest }
    },
  )

  table(
    'its process',
    'the same',
    [
      ['learnSigma', false, true, adm],
      ['diffusionSteps', 1000],
      ['schedule', 'linear', 'cosine', 'what ADM and IDDPM took for small pictures'],
      ['rescaleTimesteps', false],
      ['rescaleLearnedSigmas', false],
      ['useKl', false],
      ['meanType', undefined],
      ['sigmaSmall', undefined],
    ],
    () => ({ meanType: undefined, sigmaSmall: undefined, ...network.diffusion }),
  )

  table(
    'its run',
    'gd image_train.py and train_util.py',
    [
      ['lr', 1e-4],
      ['weightDecay', 0],
      ['emaRates', [0.9999]],
      ['anneal', 0],
      ['warmup', 0],
      ['clip', undefined],
      ['microbatch', undefined],
      ['batch', 1, 32, 'a batch of 1 trains nothing; the reference wants the flag'],
      ['logEvery', 10, 50, 'a row of the log is a reading of the device'],
      ['saveEvery', 10000, 500, scratch],
      ['schedule-sampler', 'uniform'],
      ['crop', 'center'],
      ['augment', 'flip', 'none', 'what keeps an image what it is depends on the images: text and cells differ'],
      ['betas', [0.9, 0.999]],
      ['eps', 1e-8],
    ],
    () => {
      const {
        train: { steps: _, ...train },
        saveEvery,
      } = runSettings(silent(trainDiffusion, { images: '1', out: 'x' }))
      const { options } = trainDiffusion
      return {
        clip: undefined,
        microbatch: undefined,
        ...train,
        saveEvery,
        ...optimizer,
        'schedule-sampler': options['schedule-sampler'].default,
        crop: options.crop.default,
        augment: options.augment.default,
      }
    },
  )
})

let optimizer: { betas: readonly [number, number]; eps: number }
beforeAll(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  using device = await Device.request({ backend: 'cpu', threads: 1 })
  const { betas, eps } = new AdamW(device, new Map()).options
  optimizer = { betas, eps }
})
afterAll(() => void vi.restoreAllMocks())

describe('train classifier', () => {
  table(
    'its network',
    'gd script_util.py, classifier_defaults, at image_size 64',
    [
      ['modelChannels', 128, 64, scratch],
      ['numResBlocks', 2],
      ['channelMult', [1, 2, 3, 4], [1, 2, 2], scratch],
      ['attentionResolutions', [2, 4, 8], [4], `${scratch}: the smallest maps`],
      ['numHeadChannels', 64],
      ['numHeads', 1],
      ['useScaleShiftNorm', true],
      ['resblockUpdown', true],
      ['useNewAttentionOrder', false],
      ['pool', 'attention'],
      ['dropout', 0],
      ['convResample', true],
      ['numClasses', null],
      ['inChannels', 3],
    ],
    () => {
      const {
        config: { kind: _, imageSize, outChannels, ...rest },
      } = classifierNetworkOf(silent(trainClassifier), {
        model: null,
        extractor: null,
        data: { size: 64, channels: 3, classes: null },
        outputs: 10,
      })
      return rest
    },
  )

  const paper = "the papers' (Table 2 of Um et al. 2024, README of mg), which its script has as flags"
  table(
    'its run',
    'mg classifier_train.py',
    [
      ['lr', 3e-4],
      ['weightDecay', 0, 0.05, paper],
      ['anneal', 0, 1, paper],
      ['warmup', 0],
      ['emaRates', []],
      ['batch', 4, 32, 'a batch of 4 trains nothing; the reference wants the flag'],
      ['logEvery', 10, 50, 'a row of the log is a reading of the device'],
      ['crop', 'random', 'center', 'as train diffusion; recipes of the papers say random'],
      ['augment', 'flip', 'none', 'as train diffusion; recipes of the papers say flip'],
      ['schedule-sampler', 'uniform'],
      ['validate', 0.05],
    ],
    () => {
      const {
        train: { steps: _, ...train },
      } = runSettings(silent(trainClassifier, { images: '1', out: 'x' }))
      const { options } = trainClassifier
      return {
        ...train,
        'schedule-sampler': options['schedule-sampler'].default,
        crop: options.crop.default,
        augment: options.augment.default,
        validate: Number(/else (.*)$/.exec(options.validate.otherwise!)![1]),
      }
    },
  )
})

describe('sample', () => {
  const settings = (given: Record<string, string> = {}, diffusion: DiffusionSettings = cosine): SampleSettings =>
    sampleSettings(silent(sample, { model: 'm', ...given }), { config: { ...base, outChannels: 3 }, diffusion })

  table(
    'its steps',
    'gd image_sample.py',
    [
      ['sampler', 'ancestral'],
      ['respacing', '1000'],
      ['clipDenoised', true],
      ['eta', 0],
      ['meanType', 'epsilon'],
      ['varianceType', 'fixedLarge'],
      ['rescaleTimesteps', false],
      ['boost', 1],
      ['skip', 0],
      ['guide', null],
      ['classifier', null],
      ['minority', null],
      ['number', 10000, 16, "a first look; the papers' 50,000 are asked for"],
      ['batch', 16, 8, 'fits the GPU of a laptop at 64 x 64'],
    ],
    () => {
      const {
        sampler,
        respacing,
        clipDenoised,
        eta,
        process: { meanType, varianceType, rescaleTimesteps },
        boost,
        skip,
        guide,
        classifier,
        minority,
        number,
        batch,
      } = settings()
      return {
        sampler,
        respacing,
        clipDenoised,
        eta,
        meanType,
        varianceType,
        rescaleTimesteps,
        boost,
        skip,
        guide,
        classifier,
        minority,
        number,
        batch,
      }
    },
  )

  table(
    'self-guidance',
    'sg image_sample.py',
    [
      [
        'weight',
        1,
        0.4,
        "the published one of CelebA, which is said (departures.ts); 1 is the parser's, and published for nothing",
      ],
      ['every', 5],
      ['strength', 0.8],
      ['after', -1],
      ['scale', 'variance'],
      ['draws', 1],
      ['raw', false],
      ['clip', false],
      ['through', 'first'],
      [
        'distance',
        'lpips',
        'l2',
        'LPIPS weights are third-party and not at hand; that is said, and --lpips takes them',
      ],
      [
        'greyRange',
        '0..1',
        '-1..1',
        "right for models of images in [-1, 1], as all of guided-diffusion's training is; 0..1 is the option",
      ],
    ],
    () => {
      const { guide, distance } = settings({ method: 'self-guided' })
      const { greyRange } = sampleSettings(silent(sample, { model: 'm', lpips: 'w' }), {
        config: { ...base, inChannels: 1, outChannels: 2 },
        diffusion: cosine,
      })
      return { ...guide, distance, greyRange }
    },
  )

  table(
    'self-guidance by itself',
    'sg gaussian_diffusion.py',
    [
      ['weight', 1],
      ['every', 5],
      ['strength', 0.8],
      ['after', -1],
      ['scale', 'variance'],
      ['draws', 1],
      ['raw', false],
      ['clip', false],
      ['through', 'first'],
      ['distance', 'LPIPS (alex)', l2, 'a library cannot bring its weights'],
    ],
    () => ({ ...selfGuidance({}) }),
  )

  table(
    'classifiers',
    'gd classifier_sample.py, mg classifier_sample.py',
    [
      ['classifier scale', 1],
      ['minority scale', 1],
      [
        'minority target',
        'uniform over all classes',
        'rarest',
        "what the method is for; a range such as 0-99 is the reference's",
      ],
    ],
    () => ({
      'classifier scale': settings({ classifier: 'c', target: '1' }).classifier!.scale,
      'minority scale': settings({ 'minority-classifier': 'c' }).minority!.scale,
      'minority target': settings({ 'minority-classifier': 'c' }).minority!.target,
    }),
  )

  table(
    'Boost-and-Skip',
    'H; bns, its parser',
    [
      ['boost', 1, 4, 'the published one of CelebA; 1 is plain sampling'],
      ['skip', 0, 3, 'the published one of CelebA; 0 is plain sampling'],
    ],
    () => {
      const { boost, skip } = settings({ method: 'boost-and-skip' })
      return { boost, skip }
    },
  )

  test('estimates are clipped where nothing is said', async () => {
    using device = await Device.request({ backend: 'cpu', threads: 1 })
    const diffusion = new GaussianDiffusion({
      schedule: 'linear',
      diffusionSteps: 1000,
      meanType: 'xStart',
      varianceType: 'fixedLarge',
    })
    using x = device.tensor([-2, 0.5, 2], [1, 3, 1, 1])
    using clipped = device.scope(() => diffusion.predXStart(x, x, 5))
    expect(Array.from(await clipped.read())).toEqual([-1, 0.5, 1])
  })
})

describe('score', () => {
  let scores: MinorityScores
  beforeAll(async () => {
    await writeModel(at('m'), base, { diffusion: { ...cosine, schedule: 'linear' } })
    writeFileSync(
      at('data.npz'),
      npz({
        images: npy(
          '|u1',
          [1, 8, 8, 3],
          Uint8Array.from(numbers(192, 1), (v) => 127 + 100 * v),
        ),
      }),
    )
    const { code, err } = await tweedie([
      'score',
      '--model',
      at('m'),
      '--data',
      at('data.npz'),
      '--out',
      at('scores.json'),
      '--backend',
      'cpu',
      '--threads',
      '1',
    ])
    expect(code, err.join('\n')).toBe(0)
    scores = JSON.parse(readFileSync(at('scores.json'), 'utf8')) as MinorityScores
  })

  table(
    'its scores',
    'mg construct_ms_dataset.py, of a linear model',
    [
      ['respacing', '100'],
      ['t', 60],
      ['timestep', 605],
      ['clipDenoised', true],
      ['draws', 5, 1, 'which the paper found enough (S2); recipes of its commands say 5'],
      [
        'distance',
        'LPIPS (vgg)',
        'L2',
        'LPIPS weights are third-party and not at hand; that is said, and --lpips takes them',
      ],
      ['cosine t', 60, 90, "the same strength on the other schedule; the paper's 0.9 T"],
    ],
    () => {
      const { respacing, t, timestep, draws, distance, clipDenoised = true } = scores
      return {
        respacing,
        t,
        timestep,
        draws,
        distance,
        clipDenoised,
        'cosine t': scoreProcess({ schedule: 'cosine', diffusionSteps: 1000 }).t,
      }
    },
  )
})

describe('whatever the reference can be told, this can be told', () => {
  /**
   * Flags of sg image_sample.py and of gd's scripts it shares them with, by our options. `use_fp16` has
   * none: all is float32.
   */
  const switches: Readonly<Record<string, keyof typeof sampleOptions>> = {
    model_path: 'model',
    num_samples: 'number',
    batch_size: 'batch',
    seed: 'seed',
    use_ddim: 'sampler',
    clip_denoised: 'no-clip-denoised',
    class_cond: 'labels',
    timestep_respacing: 'respacing',
    noise_schedule: 'schedule',
    diffusion_steps: 'diffusion-steps',
    rescale_timesteps: 'rescale-timesteps',
    predict_xstart: 'predict-xstart',
    sigma_small: 'sigma-small',
    use_ms_grad: 'self-guided',
    use_lpips: 'lpips',
    norm_for_mg: 'distance',
    t_mid: 'guide-after',
    mg_scale: 'guide-weight',
    p_ratio: 'guide-strength',
    inter_rate: 'guide-every',
    num_mc_samples: 'guide-draws',
    mg_scale_type: 'guide-scale',
    use_normed_grad: 'guide-raw',
    mg_clip_denoised: 'guide-clip',
    grayscale: 'grey-range',
    classifier_path: 'classifier',
    classifier_scale: 'classifier-scale',
  }
  test('when it draws', () => {
    expect(Object.keys(sampleOptions)).toEqual(expect.arrayContaining(Object.values(switches)))
    for (const [distance, known] of [
      ['l2', true],
      ['l1', true],
      ['l2.5', true],
      ['l30', true],
      ['linf', true],
      ['l0.5', false],
      ['l', false],
      ['linfinity', false],
    ] as const) {
      const read = (): string =>
        sampleSettings(silent(sample, { model: 'm', distance }), { config: base, diffusion: cosine }).distance
      if (known) expect(read()).toBe(distance)
      else expect(read).toThrow('--distance: expected lpips, features, l2, l1 or another norm lP')
    }
  })

  test('in a configuration: every argument of its networks and of create_gaussian_diffusion', () => {
    const network = {
      ...needed,
      in_channels: 3,
      out_channels: 3,
      dropout: 0.1,
      conv_resample: false,
      dims: 2,
      num_classes: 10,
      use_checkpoint: true,
      use_fp16: true,
      num_heads: 2,
      num_head_channels: -1,
      num_heads_upsample: 4,
      use_scale_shift_norm: true,
      resblock_updown: true,
      use_new_attention_order: true,
    }
    const process = {
      diffusion_steps: 4000,
      learn_sigma: false,
      sigma_small: true,
      noise_schedule: 'cosine',
      use_kl: true,
      predict_xstart: true,
      rescale_timesteps: true,
      rescale_learned_sigmas: true,
    }
    expect(parseConfig({ ...network, diffusion: process }, new Map())).toMatchObject({
      config: { convResample: false, numClasses: 10, numHeads: 2, numHeadsUpsample: 4 },
      diffusion: { sigmaSmall: true, meanType: 'xStart', useKl: true, rescaleTimesteps: true },
    })
    expect(parseConfig({ ...network, pool: 'spatial_v2' }, new Map()).config.kind).toBe('classifier')
  })
})
