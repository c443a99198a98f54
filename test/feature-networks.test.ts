/** Feature networks of others: names, shapes and sizes by their builders alone, and their values on both backends. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  loadResNet,
  parameterCount,
  resNet18ToLayer3,
  resNet50,
  resNetFoldedStateDict,
  resNetNorms,
} from '../src/nn/index.ts'
import { resNetStateDict, vgg16FeatureStateDict, vgg16StateDict } from '../src/nn/index.ts'
import { ResNet, viTB16, viTS16, viTStateDict } from '../src/nn/index.ts'
import type { Shape } from '../src/tensor/index.ts'
import { loadFolded } from '../src/nn/fold.ts'
import { checkViT, resNetRules } from './golden-features.ts'
import { keyedWeights } from './keyed-formula.ts'
import { deviceTest, expectClose, numbers, onCPU, testDevice } from './op.ts'
import { describeShared, shared } from './shared.ts'

describe('what the builders say', () => {
  test('tensors and parameters of each', () => {
    const learned = (dict: ReadonlyMap<string, readonly number[]>): Map<string, readonly number[]> =>
      new Map([...dict].filter(([key]) => !key.includes('.running_')))
    const sizes = (dict: ReadonlyMap<string, readonly number[]>): number[] => [dict.size, parameterCount(learned(dict))]
    expect(sizes(resNetStateDict(resNet50))).toEqual([267, 25_557_032])
    expect(sizes(vgg16StateDict())).toEqual([32, 138_357_544])
    expect(vgg16FeatureStateDict().size).toBe(30)
    expect(sizes(viTStateDict(viTS16))).toEqual([150, 21_665_664])
    expect(sizes(viTStateDict(viTB16))).toEqual([150, 85_798_656])
    expect([resNetFoldedStateDict(resNet18ToLayer3).size, resNetNorms(resNet18ToLayer3).size]).toEqual([30, 15])
    expect(resNetFoldedStateDict(resNet50).size).toBe(106)
  })
})

describeShared('as their own code', () => {
  test.each([
    ['resnet50', resNetStateDict(resNet50)],
    ['vgg16', vgg16StateDict()],
    ['dino_vits16', viTStateDict(viTS16)],
  ])('%s: names and shapes, in order', (name, stateDict) => {
    const keys = JSON.parse(readFileSync(shared(`goldens/baselines/keys/${name}.json`), 'utf8')) as object
    expect([...stateDict]).toEqual(Object.entries(keys))
  })

  // At full size, and on WebGPU, they take a minute: test/long has them.
  deviceTest('ViT-S/16 at another size', (device) => checkViT(device, 96), onCPU)
})

describe('ResNet-50', () => {
  const weights = keyedWeights(resNetStateDict(resNet50), 6, resNetRules)
  const features = async (net: ResNet): Promise<Float32Array> => {
    const { device } = net.parameters.get('conv1.weight')!
    using x = device.tensor(numbers(3 * 32 * 32, 1), [1, 3, 32, 32])
    using y = net.features(x)
    return y.read()
  }
  let first: Float32Array | undefined
  deviceTest('gives the same on every backend', async (device) => {
    using net = await loadResNet(device, weights, resNet50)
    const found = await features(net)
    expectClose(found, (first ??= found), 2e-5, device.backend.kind)
  })
  test("with Inception's epsilon is another network", async () => {
    const device = await testDevice('cpu')
    const config = resNet50
    const norms = resNetNorms(config)
    const parts = (of: ReadonlyMap<string, Shape>): Map<string, Shape> =>
      new Map([...of].filter(([key]) => !key.startsWith('fc.')))
    const source = { ...weights, tensors: new Map([...weights.tensors].filter(([key]) => !key.startsWith('fc.'))) }
    const folded = await loadFolded(device, source, parts(resNetStateDict(config)), norms, 1e-3)
    using wrong = new ResNet(config, folded)
    using right = await loadResNet(device, weights, config)
    const [a, b] = [await features(right), await features(wrong)]
    const largest = a.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    const moved = a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i])), 0)
    expect(moved / largest).toBeGreaterThan(1e-3)
  })
})
