/**
 * What was published about a model is what it is drawn with, whatever way its file came here; and what a run does
 * otherwise is said on stderr, in run.json and in the report.
 */
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { parseArguments } from '../src/cli/arguments.ts'
import {
  departures,
  diffusionTrainingDepartures,
  scoreDepartures,
  trainingDepartures,
} from '../src/cli/sampling/departures.ts'
import type { KnownFiles } from '../src/cli/options/known-files.ts'
import { sampleSettings, toOptions, type SampleSettings } from '../src/cli/options/sample.ts'
import { withUpsamplerSteps } from '../src/cli/options/upsampler.ts'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { sample } from '../src/cli/commands/sample.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import {
  configMetadata,
  describeModel,
  planOf,
  preset,
  presetNames,
  presetsLike,
  published,
  stateDictOf,
  type ModelDescription,
} from '../src/nn/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { torchZip } from './io-fixtures.ts'
import { base, upsampler, writeModel } from './small-models.ts'

const at = temporaryFolder()

/** A file of that preset's network, with this of its metadata. */
const file = (name: string, kept: Record<string, string> = {}, from = preset(name)): ModelDescription => {
  const tensors = new Map(
    [...stateDictOf(planOf(from.config))].map(([key, shape]) => [
      key,
      { shape, byteLength: 0, read: () => Promise.reject(new Error('not read')) },
    ]),
  )
  return describeModel({ name, metadata: { ...configMetadata(from.config, from.diffusion), ...kept }, tensors })
}

test('the table: every figure as its source has it', () => {
  // gd README.md: SAMPLE_FLAGS, MODEL_FLAGS; sg README.md; bns README.md; Um et al. 2024, Table 2.
  const figures = Object.fromEntries(
    presetNames().map((name) => {
      const { respacing, classifier, selfGuided, boostAndSkip, minority } = preset(name).sampling
      return [
        name,
        [
          respacing?.steps,
          classifier?.scale,
          selfGuided && [selfGuided.weight, selfGuided.every, selfGuided.strength],
          boostAndSkip && [boostAndSkip.boost, boostAndSkip.skip],
          minority && [minority.scale, minority.target],
        ],
      ]
    }),
  )
  expect(figures).toEqual({
    '64x64_diffusion': ['250', 1, [0.2, 2, 0.8], [2.5, 3], undefined],
    '128x128_diffusion': ['250', 0.5, undefined, undefined, undefined],
    '256x256_diffusion': ['250', 1, undefined, undefined, undefined],
    '256x256_diffusion_uncond': ['250', 10, undefined, undefined, undefined],
    '512x512_diffusion': ['250', 4, undefined, undefined, undefined],
    ...Object.fromEntries(
      [
        'lsun_bedroom',
        'lsun_cat',
        'lsun_horse',
        'lsun_horse_nodropout',
        '64_256_upsampler',
        '128_512_upsampler',
        'cifar10_uncond_50M_500K',
      ].map((name) => [name, ['250', undefined, undefined, undefined, undefined]]),
    ),
    celeba64_uncond: ['250', undefined, [0.4, 5, 0.8], [4, 3], undefined],
    ...Object.fromEntries(
      [
        '64x64_classifier',
        '128x128_classifier',
        '256x256_classifier',
        '512x512_classifier',
        'cifar10_uncond_vlb_50M_500K',
        'imagenet64_uncond_100M_1500K',
        'imagenet64_uncond_vlb_100M_1500K',
        'imagenet64_cond_270M_250K',
        'upsample_cond_500K',
        'lsun_uncond_100M_1200K_bs128',
        'lsun_uncond_100M_2400K_bs64',
      ].map((name) => [name, [undefined, undefined, undefined, undefined, undefined]]),
    ),
    mc_celeba: ['250', undefined, undefined, undefined, [4, undefined]],
    mc_cifar10: ['250', undefined, undefined, undefined, [8, undefined]],
    mc_lsun: ['250', undefined, undefined, undefined, [3.5, 99]],
    mc_imagenet: ['250', undefined, undefined, undefined, [2.5, 24]],
    mc_brain_mri: ['250', undefined, undefined, undefined, [1.5, undefined]],
  })
  for (const [name, hints] of Object.entries(published)) {
    expect(presetNames()).toContain(name)
    for (const [what, { source }] of Object.entries(hints))
      expect(source, `${name} ${what}`).toMatch(/README\.md|Table 2/)
  }
})

describe('what a file is', () => {
  test('it says so itself, also trained anew with classes and levels of its own', () => {
    expect(file('lsun_cat', { preset: 'lsun_cat' }).preset).toBe('lsun_cat')
    expect(
      file(
        'mc_cifar10',
        { preset: 'mc_cifar10' },
        { ...preset('mc_cifar10'), config: { ...preset('mc_cifar10').config, outChannels: 25 } },
      ).preset,
    ).toBe('mc_cifar10')
  })

  test('without a word, its network and process tell, if one published model alone has them', () => {
    expect(presetNames().filter((name) => file(name).preset !== name)).toEqual([
      '256x256_diffusion_uncond',
      'lsun_bedroom',
      'lsun_cat',
      'lsun_horse',
      'lsun_horse_nodropout',
      'cifar10_uncond_50M_500K',
      'cifar10_uncond_vlb_50M_500K',
      'imagenet64_uncond_100M_1500K',
      'imagenet64_uncond_vlb_100M_1500K',
      'lsun_uncond_100M_1200K_bs128',
      'lsun_uncond_100M_2400K_bs64',
    ])
    expect(file('lsun_cat')).not.toHaveProperty('preset')
    expect(presetsLike(preset('lsun_cat').config, preset('lsun_cat').diffusion)).toEqual([
      '256x256_diffusion_uncond',
      'lsun_bedroom',
      'lsun_cat',
      'lsun_horse',
      'lsun_horse_nodropout',
    ])
    // Heads that their width overrules, dropout and the order of a list make no other network; the
    // order of q, k and v does.
    const own = preset('64x64_diffusion')
    expect(
      file('own', {}, { ...own, config: { ...own.config, dropout: 0, numHeads: 1, attentionResolutions: [8, 4, 2] } })
        .preset,
    ).toBe('64x64_diffusion')
    expect(file('own', {}, { ...own, config: { ...own.config, useNewAttentionOrder: false } })).not.toHaveProperty(
      'preset',
    )
    expect(file('own', {}, { ...own, diffusion: { ...own.diffusion, schedule: 'linear' } })).not.toHaveProperty(
      'preset',
    )
  })

  test('what was fetched before the name was kept tells it by its address', () => {
    const source = (name: string) =>
      JSON.stringify([{ url: `https://openaipublic.blob.core.windows.net/diffusion/jul-2021/${name}.pt`, sha256: '0' }])
    expect(file('lsun_cat', { source: source('lsun_cat') }).preset).toBe('lsun_cat')
    expect(file('lsun_cat', { source: source('64x64_diffusion') })).not.toHaveProperty('preset')
    expect(file('64x64_diffusion', { source: '{' }).preset).toBe('64x64_diffusion')
  })

  test('a name that its network contradicts, or that nobody knows, is not believed', () => {
    expect(file('64x64_diffusion', { preset: 'lsun_cat' }).preset).toBe('64x64_diffusion')
    expect(file('lsun_cat', { preset: '64x64_diffusion' })).not.toHaveProperty('preset')
    expect(file('lsun_cat', { preset: 'of_tomorrow' })).not.toHaveProperty('preset')
  })

  test('tensors alone are no proof, but a hint', () => {
    const tensors = new Map(
      [...stateDictOf(planOf(preset('64x64_diffusion').config))].map(([key, shape]) => [
        key,
        { shape, byteLength: 0, read: () => Promise.reject(new Error('not read')) },
      ]),
    )
    expect(() => describeModel({ name: 'm.pt', metadata: {}, tensors })).toThrow(
      'm.pt does not say what network it holds: its tensors are those of 64x64_diffusion, which others ' +
        'may have too: name a preset',
    )
  })

  test('convert keeps the name, and writes it where it can tell', async () => {
    const { config, diffusion } = preset('mc_lsun')
    const tensors = [...stateDictOf(planOf(config))].map(([name, shape]) => ({
      name,
      type: 'Float',
      shape,
      data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
    }))
    await writeFile(at('mc.pt'), torchZip(tensors))
    const converted = async (from: string, ...more: string[]): Promise<Readonly<Record<string, string>>> => {
      const { code, err } = await tweedie(['convert', at(from), at('mc.safetensors'), ...more])
      expect(code, err.join()).toBe(0)
      const checkpoint = await openCheckpoint(await openFile(at('mc.safetensors')))
      await checkpoint.close()
      return checkpoint.metadata
    }
    expect((await converted('mc.pt', '--preset', 'mc_lsun')).preset).toBe('mc_lsun')
    expect((await tweedie(['info', at('mc.safetensors')])).out.join('\n')).toMatch(
      /network +classifier, the preset mc_lsun\n[\s\S]*published guidance +scale 3\.5, level 99, of lsun_bedroom, on 256x256_classifier \(Um et al\. \(ICLR 2024\), Table 2; mg README\.md\)/,
    )
    await writeFile(
      at('mc.json'),
      JSON.stringify({
        ...(JSON.parse(configMetadata(config).config) as object),
        diffusion: JSON.parse(configMetadata(config, diffusion).diffusion!),
      }),
    )
    expect((await converted('mc.pt', '--config', at('mc.json'))).preset).toBe('mc_lsun')
  })
})

describe('defaults', () => {
  const settingsOf = (model: ModelDescription, argv: string[], files: KnownFiles = {}): SampleSettings =>
    sampleSettings(
      parseArguments(sample, ['--model', 'm.safetensors', '--distance', 'l2', ...argv]),
      model,
      undefined,
      files,
    )
  const labels = ['--labels', '1']
  const imagenet = file('64x64_diffusion', { preset: '64x64_diffusion' })
  const lsun = file('lsun_bedroom', { preset: 'lsun_bedroom' })

  test('of a file that keeps its name are those of its authors', () => {
    expect(toOptions(settingsOf(imagenet, [...labels, '--self-guided']))).toMatchObject({
      respacing: '250',
      'guide-weight': 0.2,
      'guide-every': 2,
      'guide-strength': 0.8,
      boost: 1,
      skip: 0,
    })
    expect(toOptions(settingsOf(imagenet, [...labels, '--method', 'boost-and-skip']))).toMatchObject({
      boost: 2.5,
      skip: 3,
    })
    expect(
      toOptions(
        settingsOf(file('256x256_diffusion_uncond', { preset: '256x256_diffusion_uncond' }), [
          '--classifier',
          'c',
          '--target',
          '1',
        ]),
      ),
    ).toMatchObject({ 'classifier-scale': 10 })
    expect(settingsOf(lsun, []).respacing).toBe('250')
    expect(settingsOf(file('cifar10_uncond_50M_500K', { preset: 'cifar10_uncond_50M_500K' }), []).respacing).toBe('250')
    expect(settingsOf(lsun, ['--minority-classifier', 'c']).minority).toMatchObject({ scale: 3.5, target: 'rarest' })
    // The other files keep theirs as well.
    expect(
      settingsOf(file('cifar10_uncond_50M_500K'), ['--minority-classifier', 'c'], {
        minority: file('mc_cifar10', { preset: 'mc_cifar10' }),
      }).minority?.scale,
    ).toBe(8)
    const second = { upsampler: file('64_256_upsampler') }
    expect(toOptions(settingsOf(imagenet, [...labels, '--upsampler', 'u'], second))).toMatchObject({
      'upsampler-respacing': '250',
    })
    expect(
      toOptions(settingsOf(imagenet, [...labels, '--upsampler', 'u'], { upsampler: { config: upsampler } })),
    ).not.toHaveProperty('upsampler-respacing')
    // As replay gives it: all steps were meant, whatever is published by now.
    expect(
      settingsOf(imagenet, [...labels, '--upsampler', 'u', '--upsampler-respacing='], second).upsampler?.respacing,
    ).toBe(null)
    // Records of before had no word for the preset's.
    expect(withUpsamplerSteps({ upsampler: 'u', 'upsampler-preset': '64_256_upsampler' })).toMatchObject({
      'upsampler-respacing': '250',
    })
    expect(withUpsamplerSteps({ upsampler: 'u' })).toEqual({ upsampler: 'u' })
  })

  test("what is given comes first, and a run is repeated from what was resolved, not from today's table", () => {
    const options = toOptions(
      settingsOf(imagenet, [...labels, '--self-guided', '--respacing', '50', '--guide-every', '3']),
    )
    expect(options).toMatchObject({ respacing: '50', 'guide-weight': 0.2, 'guide-every': 3 })
    const argv = Object.entries(options).map(([name, value]) => `--${name}=${String(value)}`)
    const nobody = { config: imagenet.config, diffusion: imagenet.diffusion! }
    expect(toOptions(sampleSettings(parseArguments(sample, argv), nobody))).toEqual(options)
  })

  test.each<[string, SampleSettings, string, string[]]>([
    ['all as published', settingsOf(imagenet, [...labels, '--self-guided']), 'LPIPS (alex)', []],
    [
      'another distance',
      settingsOf(imagenet, [...labels, '--self-guided']),
      'L2',
      [
        'self-guidance of 64x64_diffusion: published with weight 0.2, every 2, strength 0.8, LPIPS (alex) (sg ' +
          'README.md), this run with L2',
      ],
    ],
    [
      'other figures',
      settingsOf(imagenet, [...labels, '--guide-weight', '0.4', '--guide-raw', '--respacing', '50']),
      'LPIPS (alex)',
      [
        '64x64_diffusion: published with ancestral sampling in 250 steps (gd README.md), this run with respacing 50',
        'self-guidance of 64x64_diffusion: published with weight 0.2, every 2, strength 0.8, LPIPS (alex) (sg ' +
          'README.md), this run with weight 0.4, raw gradients',
      ],
    ],
    [
      'borrowed figures',
      settingsOf(lsun, ['--self-guided']),
      'L2',
      [
        'self-guidance of lsun_bedroom: none is published, the figures are those of CelebA, weight 0.4, every ' +
          '5, strength 0.8, LPIPS (alex) (sg README.md; every and strength are the defaults of ' +
          'image_sample.py), this run with L2',
      ],
    ],
    [
      "figures of one's own for a model of one's own",
      settingsOf({ config: base, diffusion: { schedule: 'cosine', diffusionSteps: 1000, rescaleTimesteps: false } }, [
        '--guide-weight',
        '1',
      ]),
      'LPIPS (alex)',
      [],
    ],
    [
      'Boost-and-Skip',
      settingsOf(imagenet, [...labels, '--method', 'boost-and-skip', '--boost', '4']),
      'L2',
      ['Boost-and-Skip of 64x64_diffusion: published with boost 2.5, skip 3 (bns README.md), this run with boost 4'],
    ],
    [
      'another classifier',
      settingsOf(imagenet, [...labels, '--classifier', 'c'], { classifier: file('128x128_classifier') }),
      'L2',
      [
        'class guidance of 64x64_diffusion: published with scale 1, 64x64_classifier (gd README.md), this ' +
          'run with 128x128_classifier',
      ],
    ],
    [
      'the published classifier',
      settingsOf(imagenet, [...labels, '--classifier', 'c'], { classifier: file('64x64_classifier') }),
      'L2',
      [],
    ],
    [
      'minority guidance as published',
      settingsOf(lsun, ['--minority-classifier', 'c', '--minority-target', '99'], { minority: file('mc_lsun') }),
      'L2',
      [],
    ],
    [
      'minority guidance, tilted',
      settingsOf(lsun, ['--minority-classifier', 'c', '--minority-tilt', '--minority-scale', '2'], {
        minority: file('mc_lsun'),
      }),
      'L2',
      [
        'minority guidance of mc_lsun: published with scale 3.5, level 99, lsun_bedroom (Um et al. (ICLR 2024), ' +
          'Table 2; mg README.md), this run with scale 2, all levels by their scores (Eq. 18)',
      ],
    ],
    [
      'the second stage',
      settingsOf(imagenet, [...labels, '--upsampler', 'u', '--upsampler-respacing', '20'], {
        upsampler: file('64_256_upsampler'),
      }),
      'L2',
      ['second stage, 64_256_upsampler: published with 250 steps (gd README.md), this run with respacing 20'],
    ],
  ])('what differs: %s', (_, settings, distance, lines) => {
    expect(departures(settings, distance)).toEqual(lines)
  })

  test('what differs of scores and of the training of a published classifier', () => {
    expect(scoreDepartures('lsun_bedroom', 'LPIPS (vgg)', 60)).toEqual([])
    expect(scoreDepartures('lsun_bedroom', 'L2', 90)).toEqual([
      'minority scores of lsun_bedroom: published with LPIPS (vgg), step 60 (mg construct_ms_dataset.py), ' +
        'this run with L2, step 90',
    ])
    expect(scoreDepartures('celeba64_uncond', 'LPIPS (vgg)', 10)).toEqual([])
    for (const nobody of ['lsun_cat', undefined]) expect(scoreDepartures(nobody, 'L2', 90)).toEqual([])
    expect(trainingDepartures('mc_imagenet', { iterations: 60_000, batch: 1024, lr: 6e-4, weightDecay: 0.2 })).toEqual(
      [],
    )
    expect(trainingDepartures('mc_imagenet', { iterations: 60_000, batch: 32, lr: 3e-4, weightDecay: 0.05 })).toEqual([
      'training of mc_imagenet: published with 60,000 iterations of batch 1024, lr 0.0006, weight decay 0.2 (Um ' +
        'et al. (ICLR 2024), Table 2), this run with batch 32, lr 0.0003, weight decay 0.05',
    ])
    expect(
      diffusionTrainingDepartures('cifar10_uncond_vlb_50M_500K', {
        batch: 128,
        lr: 1e-4,
        scheduleSampler: 'loss-second-moment',
      }),
    ).toEqual([])
    expect(
      diffusionTrainingDepartures('cifar10_uncond_vlb_50M_500K', { batch: 32, lr: 1e-4, scheduleSampler: 'uniform' }),
    ).toEqual([
      'training of cifar10_uncond_vlb_50M_500K: published with batch 128, lr 0.0001, schedule sampler ' +
        'loss-second-moment (id README.md), this run with batch 32, schedule sampler uniform',
    ])
    expect(diffusionTrainingDepartures('celeba64_uncond', { batch: 32, lr: 1, scheduleSampler: 'uniform' })).toEqual([])
    for (const nobody of ['64x64_classifier', undefined])
      expect(trainingDepartures(nobody, { iterations: 1, batch: 1, lr: 1, weightDecay: 0 })).toEqual([])
  })

  test('a run says it once on stderr, and keeps it in run.json and the report', async () => {
    const model = await writeModel(at('base.safetensors'), base)
    const run = await tweedie([
      'sample',
      '--model',
      model,
      '--method',
      'self-guided',
      '--distance',
      'l2',
      '--respacing',
      '5',
      '--number',
      '1',
      '--out',
      at('run'),
      '--backend',
      'cpu',
    ])
    expect(run.code, run.err.join('\n')).toBe(0)
    const said = run.err.filter((line) => line.startsWith('note: not as published'))
    expect(said).toEqual([
      expect.stringMatching(
        /self-guidance of this model: none is published, the figures are those of CelebA, weight 0\.4.*LPIPS \(alex\).*, this run with L2\.$/,
      ),
    ])
    const record = JSON.parse(readFileSync(at('run/run.json'), 'utf8')) as RunRecord
    expect(record.differs).toHaveLength(1)
    expect(readFileSync(at('run/report.html'), 'utf8')).toContain(record.differs![0])
  })
})
