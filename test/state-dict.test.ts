import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TweedieError } from '../src/errors.ts'
import { checkConfig } from '../src/nn/config.ts'
import type { ModelConfig, Pool } from '../src/nn/config.ts'
import { configMetadata } from '../src/nn/config-metadata.ts'
import { lpipsNetOf, lpipsPlan, lpipsStateDict, lpipsTapSizes } from '../src/nn/lpips-plan.ts'
import type { LpipsNet } from '../src/nn/lpips-plan.ts'
import { memoryOf } from '../src/nn/memory.ts'
import { describeModel } from '../src/nn/model.ts'
import { editDistance, nearestName } from '../src/suggest.ts'
import { parseConfig, parseDiffusionSettings } from '../src/nn/parse-config.ts'
import { planOf } from '../src/nn/plan.ts'
import type { Layer } from '../src/nn/plan.ts'
import { preset, presetNames } from '../src/nn/index.ts'
import { checkStateDict, parameterCount, stateDictOf } from '../src/nn/state-dict.ts'
import { describeShared, shared } from './shared.ts'

function failure(f: () => unknown): TweedieError {
  try {
    f()
  } catch (error) {
    if (error instanceof TweedieError) return error
    throw error
  }
  throw new Error('expected a TweedieError')
}

/** Names and shapes in a safetensors file, and its metadata. */
function header(path: string): { shapes: Map<string, number[]>; metadata: Record<string, string> } {
  const bytes = readFileSync(path)
  const json = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString())
  const { __metadata__: metadata = {}, ...tensors } = json
  return { metadata, shapes: new Map(Object.entries<{ shape: number[] }>(tensors).map(([k, t]) => [k, t.shape])) }
}

const small = {
  image_size: 16,
  model_channels: 32,
  num_res_blocks: 1,
  attention_resolutions: [2],
  channel_mult: [1, 2],
  num_head_channels: 16,
  use_scale_shift_norm: true,
  resblock_updown: true,
}

describe('published networks', () => {
  it.each([
    ['64x64_diffusion', 295_904_454, 541],
    ['celeba64_uncond', 295_136_454, 540],
    ['128x128_diffusion', 421_529_606, 493],
    ['256x256_diffusion', 553_838_086, 567],
    ['256x256_diffusion_uncond', 552_814_086, 566],
    ['lsun_bedroom', 552_814_086, 566],
    ['lsun_cat', 552_814_086, 566],
    ['lsun_horse', 552_814_086, 566],
    ['lsun_horse_nodropout', 552_814_086, 566],
    ['512x512_diffusion', 558_997_638, 645],
    ['64_256_upsampler', 311_795_910, 567],
    ['128_512_upsampler', 308_835_270, 537],
    ['64x64_classifier', 65_438_568, 307],
    ['128x128_classifier', 42_568_040, 221],
    ['256x256_classifier', 54_096_360, 249],
    ['512x512_classifier', 54_448_360, 281],
    ['cifar10_uncond_50M_500K', 52_546_438, 446],
    ['cifar10_uncond_vlb_50M_500K', 52_546_438, 446],
    ['imagenet64_uncond_100M_1500K', 121_063_942, 450],
    ['imagenet64_uncond_vlb_100M_1500K', 121_063_942, 450],
    ['imagenet64_cond_270M_250K', 273_049_350, 451],
    ['lsun_uncond_100M_1200K_bs128', 113_676_678, 426],
    ['lsun_uncond_100M_2400K_bs64', 113_676_678, 426],
    ['upsample_cond_500K', 279_792_390, null],
    ['mc_lsun', 2_896_612, 71],
    ['mc_imagenet', 3_873_561 + 1000 * 512, null], // 3,873,561 without the class embedding
    ['mc_celeba', 10_242_340, null],
  ])('%s has %i parameters', (name, parameters, tensors) => {
    const stateDict = stateDictOf(planOf(preset(name).config))
    expect(parameterCount(stateDict)).toBe(parameters)
    if (tensors !== null) expect(stateDict.size).toBe(tensors)
  })

  it('every preset can be built and refers to presets that exist', () => {
    for (const name of presetNames()) {
      const { config, sampling } = preset(name)
      expect(stateDictOf(planOf(config)).size).toBeGreaterThan(0)
      for (const other of [
        sampling.classifier?.preset,
        sampling.minority?.backbone,
        sampling.minority?.featureExtractor,
      ]) {
        if (other) expect(presetNames()).toContain(other)
      }
    }
  })

  it("a preset is the caller's own", () => {
    preset('64x64_diffusion').config.channelMult[0] = 7
    expect(preset('64x64_diffusion').config.channelMult).toEqual([1, 2, 3, 4])
  })

  it('an unknown preset names the nearest', () => {
    const error = failure(() => preset('64x64_difusion'))
    expect(error.code).toBe('option')
    expect(error.message).toContain('did you mean "64x64_diffusion"?')
    expect(failure(() => preset('x')).message).toContain('mc_celeba')
  })

  it('processes and published figures', () => {
    expect(preset('64x64_diffusion').diffusion).toMatchObject({ schedule: 'cosine', rescaleTimesteps: false })
    expect(preset('cifar10_uncond_50M_500K').diffusion).toMatchObject({
      schedule: 'cosine',
      diffusionSteps: 4000,
      rescaleTimesteps: true,
    })
    expect(preset('imagenet64_cond_270M_250K').diffusion).toMatchObject({
      diffusionSteps: 4000,
      rescaleTimesteps: false,
    })
    expect(preset('celeba64_uncond').sampling.selfGuided).toMatchObject({ weight: 0.4, every: 5, strength: 0.8 })
    expect(preset('256x256_diffusion_uncond').sampling.classifier!.scale).toBe(10)
    expect(preset('mc_lsun').sampling.minority).toMatchObject({ scale: 3.5, target: 99 })
    expect(preset('mc_celeba').sampling.minority).not.toHaveProperty('target')
  })

  it.each([
    ['64x64_classifier', 6528],
    ['128x128_classifier', 4352],
    ['256x256_classifier', 5504],
    ['512x512_classifier', 5632],
  ])('spatial features of %s: %i', (name, features) => {
    for (const pool of ['spatial', 'spatial_v2'] as const) {
      const stateDict = stateDictOf(planOf({ ...preset(name).config, pool } as ModelConfig))
      expect(stateDict.get('out.0.weight')).toEqual([2048, features])
      expect(stateDict.get(pool === 'spatial' ? 'out.2.weight' : 'out.3.weight')).toEqual([1000, 2048])
    }
  })
})

describe('layout (guided-diffusion unet.py)', () => {
  const describeLayer = (layer: Layer): string =>
    layer.type === 'resblock'
      ? `R${layer.inChannels}>${layer.outChannels}${layer.updown === 'none' ? '' : ` ${layer.updown}`}`
      : layer.type === 'conv'
        ? `conv${layer.kernel}>${layer.outChannels}`
        : layer.type
  const layout = (name: string) => {
    const plan = planOf(preset(name).config)
    if (plan.kind !== 'unet') throw new Error('expected a U-Net')
    const text = (blocks: readonly (readonly Layer[])[]) => blocks.map((block) => block.map(describeLayer).join(' '))
    return { input: text(plan.inputBlocks), output: text(plan.outputBlocks), plan }
  }

  it('ADM 64', () => {
    const { input, output, plan } = layout('64x64_diffusion')
    const A = ' attention'
    const plain = (channels: number) => `R${channels}>${channels}`
    expect(input).toEqual([
      'conv3>192',
      ...Array(3).fill(plain(192)),
      'R192>192 down',
      `R192>384${A}`,
      ...Array(2).fill(plain(384) + A),
      'R384>384 down',
      `R384>576${A}`,
      ...Array(2).fill(plain(576) + A),
      'R576>576 down',
      `R576>768${A}`,
      ...Array(2).fill(plain(768) + A),
    ])
    expect(output).toEqual([
      ...Array(3).fill(`R1536>768${A}`),
      `R1344>768${A} R768>768 up`,
      `R1344>576${A}`,
      ...Array(2).fill(`R1152>576${A}`),
      `R960>576${A} R576>576 up`,
      `R960>384${A}`,
      ...Array(2).fill(`R768>384${A}`),
      `R576>384${A} R384>384 up`,
      'R576>192',
      ...Array(3).fill('R384>192'),
    ])
    expect(plan.inputBlocks[5][1]).toEqual({
      type: 'attention',
      key: 'input_blocks.5.1',
      channels: 384,
      heads: 6,
      newOrder: true,
    })
    expect(plan.outputBlocks[3][2]).toMatchObject({ key: 'output_blocks.3.2', updown: 'up' })
  })

  it('ADM 256', () => {
    const { input, output } = layout('256x256_diffusion')
    const where = (blocks: string[], what: string) => blocks.flatMap((block, n) => (block.includes(what) ? [n] : []))
    expect(where(input, 'attention')).toEqual([10, 11, 13, 14, 16, 17])
    expect(where(output, 'attention')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
    expect(where(output, 'up')).toEqual([2, 5, 8, 11, 14])
  })

  it('IDDPM CIFAR has stand-alone convolutions between levels', () => {
    const { input, output, plan } = layout('cifar10_uncond_50M_500K')
    expect([4, 8, 12].map((n) => input[n])).toEqual(Array(3).fill('downsample'))
    expect(input.flatMap((block, n) => (block.includes('attention') ? [n] : []))).toEqual([5, 6, 7, 9, 10, 11])
    expect(output[3]).toBe('R512>256 upsample')
    const stateDict = stateDictOf(plan)
    expect(stateDict.get('output_blocks.3.1.conv.weight')).toEqual([256, 256, 3, 3])
    expect(stateDict.get('output_blocks.7.2.conv.weight')).toEqual([256, 256, 3, 3])
    expect(stateDict.get('input_blocks.4.0.op.bias')).toEqual([128])
  })

  it('the networks of spec K', () => {
    const count = (extra: object) => {
      const stateDict = stateDictOf(planOf(parseConfig({ ...small, image_size: 8, ...extra }, new Map()).config))
      return [parameterCount(stateDict), stateDict.size]
    }
    expect(count({ use_new_attention_order: true })).toEqual([828_358, 144])
    expect(
      count({
        num_head_channels: -1,
        num_heads: 2,
        use_scale_shift_norm: false,
        resblock_updown: false,
        num_classes: 10,
      }),
    ).toEqual([704_646, 129])
    const encoder = parseConfig({ ...small, image_size: 8, out_channels: 10, pool: 'spatial' }, new Map()).config
    expect(stateDictOf(planOf(encoder)).get('out.0.weight')).toEqual([2048, 224])
  })
})

describeShared('goldens: state-dict tables', () => {
  const tables: Record<string, string> = {
    '256_uncond_lsun': '256x256_diffusion_uncond',
    CelebA64_uncond: 'celeba64_uncond',
    iddpm_cifar10_uncond: 'cifar10_uncond_50M_500K',
    iddpm_imagenet64_cond: 'imagenet64_cond_270M_250K',
    iddpm_imagenet64_uncond: 'imagenet64_uncond_100M_1500K',
    iddpm_lsun: 'lsun_uncond_100M_1200K_bs128',
  }

  it('names, order and shapes of all 18', () => {
    const folder = shared('goldens/state-dict-keys')
    const files = readdirSync(folder).filter((name) => name.endsWith('.json'))
    expect(files).toHaveLength(18)
    for (const file of files) {
      const table = basename(file, '.json')
      const expected = JSON.parse(readFileSync(`${folder}/${file}`, 'utf8'))
      expect([...stateDictOf(planOf(preset(tables[table] ?? table).config))], table).toEqual(expected)
    }
  })

  it('LPIPS files', () => {
    for (const net of ['alex', 'squeeze'] as const) {
      const name = `lpips_${net}_v0.1.safetensors`
      const { shapes } = header(shared(`weights/lpips/${name}`))
      expect(lpipsNetOf(shapes.keys(), name)).toBe(net)
      checkStateDict(lpipsStateDict(net), shapes, name)
      expect([...lpipsStateDict(net)]).toEqual([...shapes])
    }
  })
})

describeShared('goldens: configurations', () => {
  it('each weights file has exactly the tensors of its configuration', () => {
    const files = readdirSync(shared('goldens')).filter((name) => name.endsWith('.weights.safetensors'))
    expect(files.length).toBeGreaterThanOrEqual(5)
    for (const file of files) {
      const { shapes, metadata } = header(shared(`goldens/${file}`))
      const { config } = parseConfig(metadata.config, shapes)
      checkStateDict(stateDictOf(planOf(config)), shapes, file)
    }
  })

  it("each golden that states one parses, and its gradients have the parameters' shapes", () => {
    const files = readdirSync(shared('goldens')).filter((name) => name.endsWith('.io.safetensors'))
    const parsed = files.filter((file) => {
      const { shapes, metadata } = header(shared(`goldens/${file}`))
      if (!metadata.config) return false
      checkStateDict(stateDictOf(planOf(parseConfig(metadata.config, shapes).config)), gradients(shapes), file)
      return true
    })
    expect(parsed.length).toBeGreaterThanOrEqual(3)
  })

  it('the classifier and the super-resolution U-Net', () => {
    const classifier = header(shared('goldens/classifier16.weights.safetensors'))
    expect(parseConfig(classifier.metadata.config, classifier.shapes).config).toMatchObject({
      kind: 'classifier',
      pool: 'attention',
      outChannels: 10,
      inChannels: 3,
    })
    const superres = header(shared('goldens/superres32-from8.weights.safetensors'))
    expect(parseConfig(superres.metadata.config, superres.shapes).config).toMatchObject({
      kind: 'unet',
      superResolution: true,
      inChannels: 3,
      outChannels: 6,
      numHeads: 2,
    })
  })

  it('the .json beside a checkpoint', () => {
    const { shapes } = header(shared('weights/bccd32-adm.io.safetensors'))
    const json = readFileSync(shared('weights/bccd32-adm.json'), 'utf8')
    const { config, diffusion } = parseConfig(json, gradients(shapes))
    expect(diffusion).toEqual({ schedule: 'cosine', diffusionSteps: 1000, rescaleTimesteps: false })
    checkStateDict(stateDictOf(planOf(config)), gradients(shapes), 'bccd32-adm')
  })

  function gradients(shapes: Map<string, number[]>): Map<string, number[]> {
    return new Map([...shapes].filter(([key]) => key.startsWith('grad.')).map(([key, shape]) => [key.slice(5), shape]))
  }
})

describe('configurations', () => {
  it("absent keys have the defaults of the goldens' form", () => {
    const { image_size, model_channels, num_res_blocks, attention_resolutions, channel_mult } = small
    const json = JSON.stringify({ image_size, model_channels, num_res_blocks, attention_resolutions, channel_mult })
    expect(parseConfig(json, new Map()).config).toEqual({
      kind: 'unet',
      imageSize: 16,
      inChannels: 3,
      modelChannels: 32,
      outChannels: 6,
      numResBlocks: 1,
      attentionResolutions: [2],
      dropout: 0,
      channelMult: [1, 2],
      convResample: true,
      numClasses: null,
      numHeads: 1,
      numHeadChannels: -1,
      useScaleShiftNorm: false,
      resblockUpdown: false,
      useNewAttentionOrder: false,
      superResolution: false,
    })
  })

  it('num_heads_upsample is kept where it says something of its own', () => {
    const parsed = (more: object) =>
      parseConfig({ ...small, num_head_channels: -1, num_heads: 2, ...more }, new Map()).config
    expect(parsed({ num_heads_upsample: 4 })).toMatchObject({ numHeads: 2, numHeadsUpsample: 4 })
    expect(parseConfig(configMetadata(parsed({ num_heads_upsample: 4 })).config, new Map()).config).toEqual(
      parsed({ num_heads_upsample: 4 }),
    )
    // -1 is the reference's default; its encoder takes the argument and has no way up.
    for (const more of [
      { num_heads_upsample: -1 },
      { num_heads_upsample: 2 },
      { num_heads_upsample: 4, pool: 'adaptive' },
    ])
      expect(parsed(more)).not.toHaveProperty('numHeadsUpsample')
  })

  it('channel counts follow the tensors', () => {
    const shapes = new Map([
      ['input_blocks.0.0.weight', [32, 2, 3, 3]],
      ['out.2.weight', [1, 32, 3, 3]],
    ])
    expect(parseConfig(small, shapes).config).toMatchObject({ inChannels: 2, outChannels: 1 })
    expect(parseConfig({ ...small, super_resolution: true }, shapes).config).toMatchObject({ inChannels: 1 })
    expect(failure(() => parseConfig({ ...small, in_channels: 3 }, shapes)).message).toContain(
      'in_channels is 3, but the tensors have 2',
    )
    const heads: [Pool, string, number[]][] = [
      ['attention', 'out.2.c_proj.weight', [7, 64, 1]],
      ['adaptive', 'out.3.weight', [7, 64, 1, 1]],
      ['spatial', 'out.2.weight', [7, 2048]],
      ['spatial_v2', 'out.3.weight', [7, 2048]],
    ]
    for (const [pool, key, shape] of heads) {
      expect(parseConfig({ ...small, pool }, new Map([[key, shape]])).config).toMatchObject({ pool, outChannels: 7 })
    }
  })

  it.each([
    ['{"image_size": 16', 'expected JSON'],
    ['[]', 'expected a JSON object'],
    [null, 'expected a JSON object'],
    [{ ...small, num_resblocks: 1 }, 'unknown key "num_resblocks" (did you mean "num_res_blocks"?)'],
    [{ ...small, foo: 1, bar: 2 }, 'unknown keys "foo", "bar"'],
    [{ ...small, image_size: undefined }, 'image_size is missing'],
    [
      { ...small, model_channels: undefined, model_chanels: 32 },
      'model_channels is missing (an integer): is it "model_chanels"?',
    ],
    [{ ...small, image_size: '16' }, 'image_size must be an integer, found "16"'],
    [{ ...small, image_size: 15 }, 'imageSize 15 cannot be halved 1 times'],
    [{ ...small, model_channels: 48 }, 'level 0 has int(1 * 48) = 48 channels'],
    [{ ...small, channel_mult: [1, 1.5] }, 'level 1 has int(1.5 * 32) = 48 channels'],
    [{ ...small, channel_mult: [] }, 'channelMult is empty'],
    [{ ...small, channel_mult: '1,2' }, 'channel_mult must be a list of positive numbers'],
    [{ ...small, attention_resolutions: [0] }, 'attention_resolutions must be a list of positive numbers'],
    [{ ...small, attention_resolutions: [1.5] }, 'attentionResolutions must be a positive integer'],
    [{ ...small, num_head_channels: 24 }, 'which numHeadChannels 24 does not divide'],
    [{ ...small, num_head_channels: 0 }, 'numHeadChannels must be a positive integer'],
    [{ ...small, num_head_channels: -1, num_heads: 5 }, 'which numHeads 5 does not divide'],
    [{ ...small, dropout: 1 }, 'dropout must be in [0, 1)'],
    [{ ...small, num_res_blocks: 0 }, 'numResBlocks must be a positive integer'],
    [{ ...small, num_res_blocks: 2 ** 31 }, 'numResBlocks must be at most 256'],
    [{ ...small, num_classes: 1e300 }, 'numClasses must be at most 16777216'],
    [{ ...small, num_classes: 2.5 }, 'num_classes must be an integer'],
    [{ ...small, use_scale_shift_norm: 1 }, 'use_scale_shift_norm must be true or false'],
    [{ ...small, pool: 'max' }, 'pool must be one of attention, adaptive, spatial, spatial_v2, found "max"'],
    [{ ...small, pool: 'attention', num_head_channels: -1 }, "pool 'attention' needs numHeadChannels"],
    [{ ...small, pool: 'attention', super_resolution: true }, 'exclude each other'],
    [{ ...small, dims: 3 }, 'dims must be 2'],
    [
      { ...small, num_head_channels: -1, num_heads: 4, num_heads_upsample: 3 },
      'which numHeadsUpsample 3 does not divide',
    ],
    [
      { ...small, num_head_channels: -1, num_heads: 4, num_heads_upsample: 0 },
      'numHeadsUpsample must be a positive integer',
    ],
    [{ ...small, diffusion: { noise_schedule: 'cosine' } }, 'diffusion_steps is missing'],
  ])('bad configuration %#: %s', (json, message) => {
    const error = failure(() => parseConfig(json, new Map()))
    expect(error.code).toBe('option')
    expect(error.message).toContain(message)
  })

  it('diffusion settings', () => {
    expect(parseDiffusionSettings('{"noise_schedule": "linear", "diffusion_steps": 4000, "use_kl": true}')).toEqual({
      schedule: 'linear',
      diffusionSteps: 4000,
      rescaleTimesteps: false,
      useKl: true,
    })
    const message = (json: unknown) => failure(() => parseDiffusionSettings(json)).message
    expect(message({ noise_schedule: 'sqrt', diffusion_steps: 10 })).toContain('one of linear, cosine, found "sqrt"')
    expect(message({ noise_schedule: 'linear', diffusion_steps: 0 })).toContain('must be positive')
    expect(message({ noise_schedule: 'linear', diffusion_steps: 1e9 })).toContain(
      'must be at most 1000000, found 1000000000',
    )
    expect(message({ noise_schedule: 'linear', diffusion_steps: 9, steps: 9 })).toContain('unknown key "steps"')
  })

  it('a hand-made configuration is checked too', () => {
    const { config } = preset('64x64_diffusion')
    checkConfig(config)
    expect(failure(() => planOf({ ...config, modelChannels: 100 })).code).toBe('option')
  })
})

describe('a checkpoint that does not fit', () => {
  const expected = stateDictOf(planOf(parseConfig(small, new Map()).config))

  it('lists what is missing, unexpected and misshapen in one error, with the nearest names', () => {
    const found = new Map(expected)
    found.delete('middle_block.1.qkv.weight')
    found.set('middle_block.1.qvk.weight', [192, 64, 1])
    found.set('out.2.bias', [3])
    const error = failure(() => checkStateDict(expected, found, 'model.safetensors'))
    expect(error.code).toBe('weights')
    expect(error.message).toBe(
      'model.safetensors does not fit the network of 144 tensors: ' +
        '1 missing: middle_block.1.qkv.weight [192, 64, 1], nearest is middle_block.1.qvk.weight. ' +
        '1 unexpected: middle_block.1.qvk.weight [192, 64, 1], nearest is middle_block.1.qkv.weight. ' +
        '1 of another shape: out.2.bias [3] instead of [6]. Does the configuration belong to this checkpoint?',
    )
  })

  it('ends a long list in a count', () => {
    const found = new Map([...expected].map(([key, shape]) => [`module.${key}`, shape]))
    const { message } = failure(() => checkStateDict(expected, found, 'm'))
    expect(message).toContain('144 missing: time_embed.0.weight [128, 32], nearest is module.time_embed.0.weight;')
    expect(message.match(/nearest is module\./g)).toHaveLength(4)
    expect(message).toContain('and 140 more')
    expect(message).toContain('does a prefix stand before every name?')
    expect(message).not.toContain('\n')
  })

  it('tells Conv1d from Conv2d weights, and accepts any order', () => {
    const found = new Map(expected)
    found.set('middle_block.1.qkv.weight', [192, 64, 1, 1])
    expect(failure(() => checkStateDict(expected, found, 'm')).message).toContain(
      '[192, 64, 1, 1] instead of [192, 64, 1]',
    )
    checkStateDict(expected, new Map([...expected].reverse()), 'm')
  })
})

describe('nearest name', () => {
  it('measures the edit distance', () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', 'c') }),
        fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', 'c') }),
        fc.nat(9),
        (a, b, limit) => {
          const full = (i: number, j: number): number =>
            i === 0 || j === 0
              ? i + j
              : Math.min(full(i - 1, j) + 1, full(i, j - 1) + 1, full(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1))
          const distance = full(a.length, b.length)
          expect(editDistance(a, b)).toBe(distance)
          expect(editDistance(a, b, limit)).toBe(Math.min(distance, limit + 1))
        },
      ),
      { numRuns: 100 },
    )
  })

  it('offers nothing far-fetched', () => {
    expect(nearestName('kitten', ['sitting', 'bitten'])).toBe('bitten')
    expect(nearestName('kitten', ['zebra', 'horse'])).toBeUndefined()
    expect(nearestName('kitten', [])).toBeUndefined()
  })
})

describe('memory', () => {
  it.each([
    ['64x64_diffusion', 134],
    ['128x128_diffusion', 397],
    ['256x256_diffusion', 1527],
  ])('group norm inputs of %s: %i MiB', (name, mebibytes) => {
    expect(Math.round(memoryOf(preset(name).config, { gradient: true }).savedNorms / 2 ** 20)).toBe(mebibytes)
  })

  it.each([
    ['cifar10_uncond_50M_500K', 384 * 32 ** 2],
    ['64x64_diffusion', 576 * 64 ** 2],
    ['64_256_upsampler', 384 * 256 ** 2],
    ['256x256_diffusion', 512 * 256 ** 2],
  ])('largest activation of %s: %i elements a sample', (name, elements) => {
    // At batch 64 no weight is larger.
    expect(memoryOf(preset(name).config, { batch: 64 }).largestBuffer).toBe(4 * 64 * elements)
  })

  // Small layers (linear ones of the embedding, the last convolution's norm) and optimizers are the difference.
  it.each([
    ['ADM-64 forward b1', 1, {}],
    ['ADM-64 forward b16', 16, {}],
    ['ADM-64 training step b16', 16, { parameters: true }],
  ] as const)('the work of %s is what was counted: within 5 %%, kernels within 30', (pass, batch, options) => {
    const counts = JSON.parse(readFileSync(new URL('../bench/gpu/counts.json', import.meta.url), 'utf8')) as {
      passes: { [pass: string]: { GFLOP: number; dispatches: number } }
    }
    const { GFLOP, dispatches } = counts.passes[pass]
    const { work } = memoryOf(preset('celeba64_uncond').config, { batch, ...options })
    expect(work.flops / 1e9 / GFLOP).toBeGreaterThan(0.95)
    expect(work.flops / 1e9 / GFLOP).toBeLessThan(1.05)
    expect(work.kernels / dispatches).toBeGreaterThan(0.7)
    expect(work.kernels / dispatches).toBeLessThan(1.3)
  })

  it('adds up, and grows with batch and gradient', () => {
    for (const name of presetNames()) {
      const { config } = preset(name)
      const forward = memoryOf(config)
      expect(forward.weights).toBe(4 * parameterCount(stateDictOf(planOf(config))))
      expect(forward.bytes).toBe(forward.weights + forward.activations)
      expect(memoryOf(config, { batch: 3 }).activations).toBe(3 * forward.activations)
      const both = memoryOf(config, { gradient: true })
      expect(both.bytes).toBe(both.weights + both.activations + both.savedNorms + both.savedAttention)
      expect(both.activations).toBeGreaterThanOrEqual(forward.activations)
      const all = memoryOf(config, { parameters: true })
      expect(all.savedConvs).toBeGreaterThan(0)
      expect(all).toEqual({
        ...both,
        bytes: both.bytes + all.savedConvs + both.weights,
        savedConvs: all.savedConvs,
        weightGradients: both.weights,
        work: all.work,
      })
      const { imageSize } = config
      expect(memoryOf(config, { parameters: true, size: [imageSize, imageSize] })).toEqual(all)
    }
  })
})

describe('what a checkpoint says of itself', () => {
  const { config } = parseConfig(small, new Map())
  const source = (metadata: Record<string, string>, name = 'm') => ({ name, metadata, tensors: new Map() })
  const process = { noise_schedule: 'linear', diffusion_steps: 77 }

  it("its own process comes before that of its .json, and that before the preset's", () => {
    const own = source({ diffusion: JSON.stringify(process) })
    const options = { preset: '64x64_diffusion' }
    expect(describeModel(own, options)).toMatchObject({
      config: preset('64x64_diffusion').config,
      diffusion: { diffusionSteps: 77 },
    })
    expect(describeModel(source({}), options)).toEqual({
      config: preset('64x64_diffusion').config,
      diffusion: preset('64x64_diffusion').diffusion,
      preset: '64x64_diffusion',
    })
    const json = JSON.stringify({ ...small, diffusion: { ...process, diffusion_steps: 88 } })
    expect(describeModel(own, { json })).toMatchObject({ config, diffusion: { diffusionSteps: 77 } })
    expect(describeModel(source({}), { json, ...options })).toMatchObject({ config, diffusion: { diffusionSteps: 88 } })
    expect(describeModel(source({ config: JSON.stringify(small) }), options).diffusion).toMatchObject({
      diffusionSteps: 1000,
    })
    expect(describeModel(source({ config: JSON.stringify(small) }))).toEqual({ config })
    expect(failure(() => describeModel(own)).message).toContain('does not say what network it holds')
  })

  it('learn_sigma must be what the channels say', () => {
    const described = (learn_sigma: boolean, out_channels: number, more = {}) =>
      describeModel(
        source({
          config: JSON.stringify({ ...small, out_channels, ...more }),
          diffusion: JSON.stringify({ ...process, learn_sigma }),
        }),
      )
    expect(described(true, 6).diffusion?.learnSigma).toBe(true)
    expect(described(false, 3).diffusion?.learnSigma).toBe(false)
    expect(described(true, 7, { pool: 'adaptive' }).config.outChannels).toBe(7)
    for (const [learn, channels] of [
      [true, 3],
      [false, 6],
    ] as const) {
      const error = failure(() => described(learn, channels))
      expect(error.code).toBe('option')
      expect(error.message).toContain(`learn_sigma ${learn}`)
    }
  })
})

describe('LPIPS layout', () => {
  it.each([
    ['alex', 2_469_696, [15, 7, 3, 3, 3], 31],
    ['vgg', 14_714_688, [64, 32, 16, 8, 4], 16],
    ['squeeze', 722_496, [31, 15, 7, 3, 3, 3, 3], 17],
  ] as [LpipsNet, number, number[], number][])('%s', (net, parameters, sizes, smallest) => {
    const backbone = new Map([...lpipsStateDict(net)].filter(([key]) => key.startsWith('features.')))
    expect(parameterCount(backbone)).toBe(parameters)
    expect(lpipsTapSizes(net, 64, 64)).toEqual(sizes.map((size) => [size, size]))
    expect(lpipsTapSizes(net, smallest, smallest).at(-1)).toEqual([1, 1])
    const error = failure(() => lpipsTapSizes(net, 64, smallest - 1))
    expect(error.code).toBe('shape')
    expect(error.message).toContain(`${smallest}x${smallest} is the least`)
  })

  it('layers fit together and taps have the channels of the lin layers', () => {
    for (const net of ['alex', 'vgg', 'squeeze'] as const) {
      const { slices, taps } = lpipsPlan(net)
      let channels = 3
      expect(
        slices.map((slice) => {
          for (const layer of slice) {
            if (layer.type === 'maxpool') continue
            expect(layer.inChannels).toBe(channels)
            channels = layer.type === 'conv' ? layer.outChannels : layer.expand1x1 + layer.expand3x3
          }
          return channels
        }),
      ).toEqual(taps)
    }
  })

  it('tells the net from the keys', () => {
    for (const net of ['alex', 'vgg', 'squeeze'] as const) {
      expect(lpipsNetOf(lpipsStateDict(net).keys(), 'f')).toBe(net)
    }
    expect(failure(() => lpipsNetOf(['lin0.model.1.weight'], 'alex.pth')).message).toContain('only the lin layers')
    expect(failure(() => lpipsNetOf(['a'], 'f')).code).toBe('weights')
  })
})
