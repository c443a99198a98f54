/**
 * Networks from the flags of the scripts that trained them. Every published model is described by such a text (the
 * READMEs of guided-diffusion, improved-diffusion, sg-minority and minority-guidance), and is the preset of its name.
 */
import { describe, expect, test } from 'vitest'
import {
  checkStateDict,
  configOfFlags,
  describeModel,
  planOf,
  preset,
  stateDictOf,
  type DescribedSource,
  type FlagsOptions,
  type ModelConfig,
  readFlags,
} from '../src/nn/index.ts'
import { configMetadata } from '../src/nn/config-metadata.ts'
import { base, cosine } from './small-models.ts'

const adm = (size: number, more: string): string =>
  `MODEL_FLAGS="--attention_resolutions 32,16,8 --diffusion_steps 1000 --image_size ${size} --learn_sigma True ` +
  '--num_res_blocks 2 --num_channels 256 --resblock_updown True --use_fp16 True --use_scale_shift_norm True ' +
  `--noise_schedule linear ${more}"`
const imagenet64 =
  'MODEL_FLAGS="--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --dropout 0.1 ' +
  '--image_size 64 --learn_sigma True --noise_schedule cosine --num_channels 192 --num_head_channels 64 ' +
  '--num_res_blocks 3 --resblock_updown True --use_new_attention_order True --use_fp16 True ' +
  '--use_scale_shift_norm True"\n' +
  'python classifier_sample.py $MODEL_FLAGS --classifier_scale 1.0 --classifier_path models/64x64_classifier.pt ' +
  '--classifier_depth 4 --model_path models/64x64_diffusion.pt $SAMPLE_FLAGS'
const sampling = 'SAMPLE_FLAGS="--batch_size 4 --num_samples 100 --timestep_respacing 250"'
const classifier128 =
  'CLASSIFIER_FLAGS="--image_size 128 --classifier_attention_resolutions 32,16,8 --classifier_depth 2 ' +
  '--classifier_width 128 --classifier_pool attention --classifier_resblock_updown True ' +
  '--classifier_use_scale_shift_norm True --classifier_scale 1.0 --classifier_use_fp16 True"'
const upsampler =
  '--class_cond True --diffusion_steps 1000 --learn_sigma True --noise_schedule linear --num_channels 192 ' +
  '--num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True'
const iddpm = (size: number, more = ''): string[] => [
  `MODEL_FLAGS="--image_size ${size} --num_channels 128 --num_res_blocks 3 --learn_sigma True ${more}"`,
  'DIFFUSION_FLAGS="--diffusion_steps 4000 --noise_schedule cosine"',
  'TRAIN_FLAGS="--lr 1e-4 --batch_size 128"',
]
const notRescaled = '--rescale_learned_sigmas False --rescale_timesteps False'
const lsun = (more: string): string =>
  '--image_size 256 --num_channels 128 --num_res_blocks 2 --num_heads 1 --learn_sigma True ' +
  '--use_scale_shift_norm False --attention_resolutions 16 --diffusion_steps 1000 --noise_schedule ' +
  `linear ${notRescaled} ${more}`
const improved: FlagsOptions = { script: 'improved-diffusion' }

const published: [string, string | string[], FlagsOptions?][] = [
  ['64x64_diffusion', [sampling, imagenet64]],
  ['64x64_classifier', [sampling, imagenet64], { network: 'classifier' }],
  ['128x128_diffusion', adm(128, '--class_cond True --num_heads 4')],
  [
    '128x128_classifier',
    [adm(128, '--class_cond True --num_heads 4'), classifier128, sampling],
    { network: 'classifier' },
  ],
  ['256x256_diffusion', adm(256, '--class_cond True --num_head_channels 64')],
  [
    '256x256_classifier',
    [adm(256, '--class_cond True --num_head_channels 64'), '--classifier_scale 1.0'],
    { network: 'classifier' },
  ],
  ['256x256_diffusion_uncond', adm(256, '--class_cond False --num_head_channels 64')],
  [
    '512x512_diffusion',
    adm(512, '--class_cond True --num_head_channels 64').replace('--use_fp16 True', '--use_fp16 False'),
  ],
  ['512x512_classifier', adm(512, '--class_cond True --num_head_channels 64'), { network: 'classifier' }],
  ...['lsun_bedroom', 'lsun_cat', 'lsun_horse'].map((name): [string, string] => [
    name,
    adm(256, '--class_cond False --num_head_channels 64 --dropout 0.1'),
  ]),
  ['lsun_horse_nodropout', adm(256, '--class_cond False --num_head_channels 64 --dropout 0.0')],
  [
    '64_256_upsampler',
    `MODEL_FLAGS="--attention_resolutions 32,16,8 --large_size 256  --small_size 64 --num_heads 4 ${upsampler}"`,
  ],
  [
    '128_512_upsampler',
    `MODEL_FLAGS="--attention_resolutions 32,16 --large_size 512 --small_size 128 --num_head_channels 64 ${upsampler}"`,
  ],
  [
    'celeba64_uncond',
    '--diffusion_steps 1000 --noise_schedule cosine --image_size 64 --class_cond False --num_channels 192 ' +
      '--num_head_channels 64 --num_res_blocks 3 --attention_resolutions 32,16,8 --resblock_updown True ' +
      '--use_new_attention_order True --learn_sigma True --dropout 0.1 --use_scale_shift_norm True --use_fp16 True ' +
      '--use_ms_grad True --mg_scale 0.4',
  ],
  ['cifar10_uncond_50M_500K', iddpm(32, '--dropout 0.3')],
  [
    'cifar10_uncond_vlb_50M_500K',
    [...iddpm(32, '--dropout 0.3'), '--use_kl True --schedule_sampler loss-second-moment'],
  ],
  ['imagenet64_uncond_100M_1500K', iddpm(64), improved],
  ['imagenet64_uncond_vlb_100M_1500K', [...iddpm(64), '--use_kl True'], improved],
  [
    'imagenet64_cond_270M_250K',
    [
      '--image_size 64 --num_channels 192 --num_res_blocks 3 --learn_sigma True --class_cond True',
      `--diffusion_steps 4000 --noise_schedule cosine ${notRescaled}`,
    ],
  ],
  [
    'upsample_cond_500K',
    [
      '--num_channels 192 --num_res_blocks 2 --learn_sigma True --class_cond True',
      `--diffusion_steps 4000 --noise_schedule linear ${notRescaled}`,
    ],
    { network: 'superResolution' },
  ],
  ['lsun_uncond_100M_1200K_bs128', lsun('')],
  ['lsun_uncond_100M_2400K_bs64', lsun('--use_scale_shift_norm False --lr 2e-5')],
  [
    'mc_lsun',
    [
      'CLASSIFIER_FLAGS="--latent_size 8 --in_channels 512 --out_channels 100 --classifier_attention_resolutions ' +
        '8 --classifier_depth 2 --classifier_width 128 --classifier_pool attention --classifier_resblock_updown ' +
        'False --classifier_use_scale_shift_norm True"',
      'DIFFUSION_FLAGS="--diffusion_steps 1000 --noise_schedule linear --learn_sigma True"',
    ],
  ],
]

test.each(published)('%s', (name, flags, options) => {
  const { config, diffusion } = preset(name)
  const found = configOfFlags(flags, options)
  expect(found.config).toEqual(config)
  expect(found.diffusion).toEqual(diffusion)
})

/** A checkpoint of that network, without its numbers. */
const checkpointOf = (config: ModelConfig, metadata: Readonly<Record<string, string>> = {}): DescribedSource => ({
  name: 'model.pt',
  metadata,
  tensors: new Map(
    [...stateDictOf(planOf(config))].map(([key, shape]) => [
      key,
      { name: key, shape, dtype: 'F32', byteLength: 0, read: () => Promise.reject(new Error('nobody reads')) },
    ]),
  ) as unknown as DescribedSource['tensors'],
})

describe('describeModel', () => {
  test.each(published)('%s, by its tensors and flags', (name, flags, options) => {
    const { config, diffusion } = preset(name)
    // What it is the tensors tell: the flags of guided sampling are of two networks. Whose default is meant they do
    // not.
    const told = options?.script ? [flags, '--rescale_timesteps True --rescale_learned_sigmas True'].flat() : flags
    const found = describeModel(checkpointOf(config), { flags: readFlags(told) })
    expect(found).toMatchObject({ config, diffusion })
  })

  test('the number of classes and channels is that of the tensors, not the constant of the scripts', () => {
    const own: ModelConfig = {
      ...(preset('64x64_diffusion').config as Extract<ModelConfig, { kind: 'unet' }>),
      numClasses: 7,
      inChannels: 1,
      outChannels: 2,
    }
    expect(describeModel(checkpointOf(own), { flags: readFlags([sampling, imagenet64]) }).config).toEqual(own)
    const attributes: ModelConfig = { ...preset('64x64_classifier').config, outChannels: 40 }
    expect(describeModel(checkpointOf(attributes), { flags: readFlags([sampling, imagenet64]) }).config).toEqual(
      attributes,
    )
  })

  test('what is published for a model is known from its flags', () => {
    expect(
      describeModel(checkpointOf(preset('64x64_diffusion').config), { flags: readFlags([sampling, imagenet64]) })
        .preset,
    ).toBe('64x64_diffusion')
    // Three LSUN models have one network.
    expect(
      describeModel(checkpointOf(preset('lsun_cat').config), {
        flags: readFlags(adm(256, '--num_head_channels 64 --dropout 0.1')),
      }).preset,
    ).toBeUndefined()
  })

  test('flags of another network end in the list of what differs', () => {
    const source = checkpointOf(preset('256x256_diffusion_uncond').config)
    const described = describeModel(source, {
      flags: readFlags(
        adm(256, '--class_cond False --num_head_channels 64').replace('--num_channels 256', '--num_channels 128'),
      ),
    })
    const shapes = new Map([...source.tensors].map(([key, { shape }]) => [key, shape]))
    expect(() => checkStateDict(stateDictOf(planOf(described.config)), shapes, 'model.pt')).toThrow(
      /model\.pt .*time_embed\.0\.weight/s,
    )
    const classes = describeModel(source, { flags: readFlags(adm(256, '--class_cond True --num_head_channels 64')) })
    expect(() => checkStateDict(stateDictOf(planOf(classes.config)), shapes, 'model.pt')).toThrow(/label_emb\.weight/)
    expect(() =>
      describeModel(source, {
        flags: readFlags(adm(256, '--num_head_channels 64').replace('--learn_sigma True', '--learn_sigma False')),
      }),
    ).toThrow('learn_sigma false means 3 output channels for images of 3, but the network has 6')
  })

  test('a file that says itself what it holds is not overruled', () => {
    const flags =
      '--image_size 8 --num_channels 32 --num_res_blocks 1 --num_head_channels 16 --channel_mult 1,2 ' +
      '--attention_resolutions 4 --resblock_updown True --use_new_attention_order True --learn_sigma ' +
      'True --noise_schedule cosine'
    const file = checkpointOf(base, configMetadata(base, cosine))
    expect(configOfFlags(flags).config).toMatchObject({
      modelChannels: base.modelChannels,
      channelMult: base.channelMult,
      attentionResolutions: base.attentionResolutions,
    })
    expect(describeModel(file, { flags: readFlags(flags) })).toMatchObject({ config: base, diffusion: cosine })
    expect(() => describeModel(file, { flags: readFlags(flags.replace('cosine', 'linear')) })).toThrow(
      'model.pt says itself what network it holds and how it was trained, and the flags say otherwise',
    )
    expect(() => describeModel(file, { flags: readFlags(`${flags} --class_cond True`) })).toThrow(
      'the flags say otherwise',
    )
    expect(() => describeModel(file, { flags: readFlags(flags), preset: 'lsun_cat' })).toThrow(
      'a preset and flags say the same thing: give one of them',
    )
    expect(() => describeModel(checkpointOf(base), { flags } as never)).toThrow(/expected what readFlags\(text\) gives/)
    expect(() => describeModel(checkpointOf(base), { flag: flags } as never)).toThrow(
      'describeModel: unknown option "flag" (did you mean "flags"?)',
    )
  })
})

describe('the text', () => {
  const config = configOfFlags('--image_size 64 --num_channels 64').config

  test.each<[string, string | string[]]>([
    ['on several lines', '--image_size 64 \\\n  --num_channels 64\n'],
    ['with equals signs', '--image_size=64 --num_channels=64'],
    ['of several variables', 'export A="--image_size 64"\nB=\'--num_channels 64\'\n'],
    ['in a list', ['--image_size 64', '', 'B="--num_channels 64"']],
    ['with the quotation marks of a page', 'MODEL_FLAGS=“--image_size 64 --num_channels 64”'],
    [
      'with a command',
      'MODEL_FLAGS="--image_size 64 --num_channels 64" # ours\nmpiexec -n 8 python scripts/image_train.py ' +
        `--data_dir "path/to/my images" \${MODEL_FLAGS} $MODEL_FLAGS`,
    ],
    ['with a flag twice', '--image_size 64 --image_size 64 --num_channels 64'],
  ])('%s', (_, flags) => expect(configOfFlags(flags).config).toEqual(config))

  test('every flag of a network makes a difference', () => {
    const text =
      '--image_size 64 --num_channels 64 --num_res_blocks 1 --num_heads 2 --num_heads_upsample 4 ' +
      '--num_head_channels -1 --attention_resolutions 32 --channel_mult 1,2,2 --dropout 0.2 --class_cond yes ' +
      '--use_scale_shift_norm 0 --resblock_updown t --use_new_attention_order TRUE'
    expect(configOfFlags(text).config).toEqual({
      kind: 'unet',
      imageSize: 64,
      inChannels: 3,
      outChannels: 3,
      modelChannels: 64,
      numResBlocks: 1,
      numHeads: 2,
      numHeadsUpsample: 4,
      numHeadChannels: -1,
      attentionResolutions: [2],
      channelMult: [1, 2, 2],
      dropout: 0.2,
      numClasses: 1000,
      useScaleShiftNorm: false,
      resblockUpdown: true,
      useNewAttentionOrder: true,
      convResample: true,
      superResolution: false,
    })
    expect(
      configOfFlags(
        '--classifier_width 64 --classifier_depth 1 --classifier_attention_resolutions 16 --classifier_pool ' +
          'spatial --classifier_resblock_updown False --classifier_use_scale_shift_norm False',
      ).config,
    ).toMatchObject({
      kind: 'classifier',
      imageSize: 64,
      modelChannels: 64,
      numResBlocks: 1,
      attentionResolutions: [4],
      pool: 'spatial',
      resblockUpdown: false,
      useScaleShiftNorm: false,
      outChannels: 1000,
    })
    expect(
      configOfFlags(
        '--image_size 32 --diffusion_steps 500 --noise_schedule cosine --sigma_small True --predict_xstart True ' +
          '--use_kl True --rescale_timesteps no',
      ).diffusion,
    ).toEqual({
      schedule: 'cosine',
      diffusionSteps: 500,
      rescaleTimesteps: false,
      learnSigma: false,
      rescaleLearnedSigmas: true,
      sigmaSmall: true,
      meanType: 'xStart',
      useKl: true,
    })
  })

  test('what is not about the network is given back', () => {
    expect(configOfFlags([sampling, imagenet64]).other).toEqual({
      batch_size: '4',
      num_samples: '100',
      timestep_respacing: '250',
      use_fp16: 'True',
      classifier_scale: '1.0',
      classifier_path: 'models/64x64_classifier.pt',
      model_path: 'models/64x64_diffusion.pt',
    })
  })

  test('an option that is none', () => {
    expect(() => configOfFlags('--image_size 64', { network: 'super-resolution' as never })).toThrow(
      "configOfFlags: network is 'unet', 'superResolution' or 'classifier', found 'super-resolution': did " +
        "you mean 'superResolution'?",
    )
    expect(() => configOfFlags('--image_size 64', { script: 'improved' as never })).toThrow(
      "script is 'guided-diffusion' or 'improved-diffusion', found 'improved'",
    )
    expect(() => configOfFlags('--image_size 64', { kind: 'unet' } as never)).toThrow(
      'configOfFlags: unknown option "kind"',
    )
  })

  test('whose default is meant', () => {
    const flags = '--image_size 64 --num_channels 128 --learn_sigma True --diffusion_steps 4000'
    expect(() => configOfFlags(flags)).toThrow(
      'of 4000 steps the network sees t in guided-diffusion, and t * 1000 / 4000 in improved-diffusion, and ' +
        'these flags are both of theirs: add --rescale_timesteps False or True',
    )
    const rescaled = (text: string, options?: FlagsOptions): unknown => {
      const { rescaleTimesteps, rescaleLearnedSigmas } = configOfFlags(text, options).diffusion
      return [rescaleTimesteps, rescaleLearnedSigmas]
    }
    expect(rescaled(flags, improved)).toEqual([true, true])
    expect(rescaled(flags, { script: 'guided-diffusion' })).toEqual([false, false])
    expect(rescaled(`${flags} --rescale_timesteps True`)).toEqual([true, undefined])
    // What only one of them has says whose they are.
    expect(rescaled(`${flags} --num_head_channels 64`)).toEqual([false, false])
    expect(rescaled(`${flags} --sigma_small False`)).toEqual([true, true])
  })

  test('attention where no level is: stated for new weights it is a mistake, as a default it means nothing', () => {
    const flags = '--image_size 64 --channel_mult 1,2 --num_channels 64'
    expect(configOfFlags(flags).config.attentionResolutions).toEqual([])
    expect(() => configOfFlags(`${flags} --attention_resolutions 32,8`)).toThrow(
      'flags: --attention_resolutions are sides of maps, and no level has 8: the levels have 64, 32.',
    )
    const config = { ...configOfFlags(`${flags} --attention_resolutions 32`).config }
    expect(
      describeModel(checkpointOf(config), { flags: readFlags(`${flags} --attention_resolutions 32,8`) }).config,
    ).toEqual(config)
    // image_size // 24 is 2, whose maps have a side of 32.
    expect(configOfFlags('--image_size 64 --attention_resolutions 24').config.attentionResolutions).toEqual([2])
  })

  test.each<[unknown, string]>([
    ['--num_chanels 64', 'flags: unknown flag "num_chanels" (did you mean "num_channels"?).'],
    ['--image-size 64 --nonsense 1', 'unknown flags "image-size" (did you mean "image_size"?), "nonsense"'],
    ['--class_cond --image_size 64', 'flags: --class_cond needs a value, as in --class_cond True.'],
    ['--image_size', '--image_size needs a value'],
    ['64x64_diffusion', 'flags: expected flags such as --image_size 64, found "64x64_diffusion".'],
    [
      '$MODEL_FLAGS --batch_size 4',
      'flags: $MODEL_FLAGS is a variable of the shell, which is not set here: give the text that it stands for.',
    ],
    ['—image_size 64', 'flags: "—image_size" is no flag: they begin with two hyphens'],
    ['-image_size 64', 'they begin with two hyphens'],
    ['MODEL_FLAGS="--image_size 64', 'flags: a quotation mark has no partner.'],
    [
      { image_size: 64 },
      'flags: expected a text such as "--image_size 64 --num_channels 192", or a list of such, found an object.',
    ],
    [undefined, 'or a list of such, found undefined.'],
    ['', 'found "". Is the variable set?'],
    ['MODEL_FLAGS=""', 'Is the variable set?'],
    [[], 'flags: expected a text'],
    [
      '--image_size 48',
      'flags: the scripts have no channel_mult for images of 48: add --channel_mult, one factor a level.',
    ],
    ['--large_size 128', 'large_size is 64, 256, 512'],
    [
      '--large_size 256 --image_size 64',
      '--image_size is no flag of a super-resolution network, whose size is --large_size.',
    ],
    ['--image_size 64 --image_size 128', 'flags: --image_size is given as 64 and as 128.'],
    ['--num_channels 12.5', '--num_channels is a whole number, found "12.5"'],
    ['--dropout high', '--dropout is a number, found "high"'],
    ['--class_cond maybe', '--class_cond is True or False, found "maybe"'],
    [
      '--attention_resolutions 16;8',
      '--attention_resolutions are numbers with commas between, as in 32,16,8, found "16;8"',
    ],
    ['--noise_schedule cosinus', 'noise_schedule must be one of linear, cosine, found "cosinus"'],
    ['--num_channels 48', '48 channels, but every norm has 32 groups'],
    ['--classifier_pool max', 'pool must be one of attention, adaptive, spatial, spatial_v2, found "max"'],
  ])('%j is refused', (flags, message) => {
    expect(() => configOfFlags(flags as string)).toThrow(message)
    expect(() => configOfFlags(flags as string)).toThrow(expect.objectContaining({ code: 'option' }))
  })
})
