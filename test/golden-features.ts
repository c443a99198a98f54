/**
 * Feature networks of others against their own code on torch 1.13 (float32, CPU), with weights and pictures by a
 * formula: every element within 2e-5 of the largest, sums within 1e-5 of the absolute sum.
 */
import { expect } from 'vitest'
import { loadResNet, loadVgg16, loadViT, resNet50, resNetStateDict } from '../src/nn/index.ts'
import { vgg16StateDict, viTS16, viTStateDict } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { arrayNamed, readGolden } from './golden.ts'
import { keyedValues, keyedWeights, type SpecialRules } from './keyed-formula.ts'
import { expectClose } from './op.ts'

const tolerance = 2e-5

/** Sum, absolute sum, first and last element of a whole tensor. */
export function expectStats(found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  const values = Array.from(found)
  const total = values.reduce((a, v) => a + v, 0)
  const absolute = values.reduce((a, v) => a + Math.abs(v), 0)
  const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  const [sum, absoluteSum, first, last] = Array.from(expected)
  for (const error of [total - sum, absolute - absoluteSum]) {
    expect(Math.abs(error), `${what}: a sum`).toBeLessThanOrEqual(1e-5 * absoluteSum)
  }
  for (const error of [values[0] - first, values[values.length - 1] - last]) {
    expect(Math.abs(error), `${what}: an end`).toBeLessThanOrEqual(tolerance * largest)
  }
}

/** The rules of the ResNet-50 golden: what a block adds must stay smaller than what it adds to. */
export const resNetRules: SpecialRules = {
  'bn3.weight': { offset: 0.5, scale: 0.1 },
  'downsample.1.weight': { offset: 0.7, scale: 0.1 },
}

/** Pictures [images, 3, 224, 224] of the goldens. */
const pictures = (images: number): Float32Array => keyedValues('x', images * 3 * 224 * 224, Math.sqrt(3))

/** ResNet-50 on the golden's first `images` pictures; of both of them also what its stages leave. */
export async function checkResNet50(device: Device, images: 1 | 2): Promise<void> {
  const golden = await readGolden('goldens/baselines/resnet50.safetensors')
  const expected = (key: string): ArrayLike<number> => arrayNamed(golden, key).data
  using net = await loadResNet(device, keyedWeights(resNetStateDict(resNet50), 6, resNetRules), resNet50)
  using x = device.tensor(pictures(images), [images, 3, 224, 224])
  using features = net.features(x)
  expectClose(await features.read(), Array.from(expected('pooled')).slice(0, images * 2048), tolerance, 'pooled')
  if (images < 2) return
  for (const [i, stage] of net.stages(x).entries()) {
    expectStats(await stage.read(), expected(`stats.layer${i + 1}`), `layer${i + 1}`)
    stage.dispose()
  }
}

/** VGG-16 on the golden's first `images` pictures, with fully connected layers of 128 units. */
export async function checkVgg16(device: Device, images: 1 | 2): Promise<void> {
  const golden = await readGolden('goldens/baselines/vgg16.safetensors')
  const expected = (key: string, each: number): number[] =>
    Array.from(arrayNamed(golden, key).data).slice(0, images * each)
  using net = await loadVgg16(device, keyedWeights(vgg16StateDict(128), 6))
  using x = device.tensor(pictures(images), [images, 3, 224, 224])
  using maps = net.maps(x)
  const found = await maps.read()
  const kept = Array.from({ length: images * 8 * 49 }, (_, i) => found[Math.floor(i / 392) * 25088 + (i % 392)])
  expectClose(kept, expected('features', 8 * 49), tolerance, 'maps')
  if (images === 2) expectStats(found, arrayNamed(golden, 'stats.features').data, 'maps')
  using features = net.features(x)
  expectClose(await features.read(), expected('fc2', 128), tolerance, 'fc2')
}

/** The rules of the transformer's golden. */
export const viTRules: SpecialRules = { cls_token: { offset: 0, scale: 0.5 }, pos_embed: { offset: 0, scale: 0.5 } }

/** Height and width of the pictures of the transformer's golden, by name. */
const viTSizes = { 64: [64, 112], 96: [96, 96], 224: [224, 224] } as const

/** DINO's ViT-S/16 on pictures of one of the golden's sizes: positions, tokens, the first block and the features. */
export async function checkViT(device: Device, name: keyof typeof viTSizes): Promise<void> {
  const golden = await readGolden('goldens/baselines/vit-s16.safetensors')
  const expected = (key: string): ArrayLike<number> => arrayNamed(golden, key).data
  const [height, width] = viTSizes[name]
  const [h, w] = [height / 16, width / 16]
  const count = 1 + h * w
  const start = (values: ArrayLike<number>, images: number, tokens: number, channels: number): number[] =>
    Array.from({ length: images * tokens * channels }, (_, i) => {
      const [image, token] = [Math.floor(i / channels / tokens), Math.floor(i / channels) % tokens]
      return values[(image * count + token) * 384 + (i % channels)]
    })
  using net = await loadViT(device, keyedWeights(viTStateDict(viTS16), 3, viTRules))
  const x = device.tensor(keyedValues(`x${name}`, 6 * height * width, Math.sqrt(3)), [2, 3, height, width])
  using positions = net.positions(h, w)
  expectClose(start(await positions.read(), 1, count, 16), expected(`pos${name}`), tolerance, 'positions')
  using tokens = net.embed(x)
  expectClose(start(await tokens.read(), 2, 3, 8), expected(`tokens${name}.first`), tolerance, 'tokens')
  using block = net.block(0, tokens)
  expectClose(start(await block.read(), 2, 3, 16), expected(`block0_${name}`), tolerance, 'first block')
  using features = net.features(x)
  expectClose(await features.read(), expected(`cls${name}`), tolerance, 'features')
  x.dispose()
}
