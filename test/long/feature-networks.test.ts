/**
 * Feature networks of others at full size on WebGPU, one picture each, and both pictures of the goldens on the CPU
 * backend: 100 GFLOP, some 30 s.
 */
import { expect } from 'vitest'
import { imageArrays } from '../../src/data/index.ts'
import { openSpace } from '../../src/metrics/index.ts'
import { checkResNet50, checkVgg16, checkViT } from '../golden-features.ts'
import { deviceTest, type DeviceTestOptions } from '../op.ts'
import { describeShared } from '../shared.ts'

const whole: DeviceTestOptions = { on: ['cpu'], timeout: 600_000 }
const onWebGPU: DeviceTestOptions = { on: ['webgpu'], timeout: 600_000 }

describeShared('as their own code', () => {
  deviceTest('ResNet-50, both pictures and every stage', (device) => checkResNet50(device, 2), whole)
  deviceTest('VGG-16, both pictures', (device) => checkVgg16(device, 2), whole)
  deviceTest('ResNet-50', (device) => checkResNet50(device, 1), onWebGPU)
  deviceTest('VGG-16', (device) => checkVgg16(device, 1), onWebGPU)
  deviceTest('ViT-S/16', (device) => checkViT(device, 224), { timeout: 600_000 })
  deviceTest('ViT-S/16 at another shape', (device) => checkViT(device, 64), { timeout: 600_000 })
})

deviceTest(
  'a random VGG-16: half of its 4,096 units answer to a picture, and to another others',
  async (device) => {
    using space = await openSpace(device, 'random-vgg16', { seed: 3 })
    expect(space).toMatchObject({ dimension: 4096, weights: 'seed 3' })
    const data = Uint8Array.from({ length: 2 * 32 * 32 }, (_, i) => (i * i) % 251)
    const images = imageArrays({ name: 'squares', fingerprint: 'squares', width: 32, height: 32, channels: 1, data })
    const found = (await space.features(images)).data
    for (const row of [found.subarray(0, 4096), found.subarray(4096)]) {
      const share = row.filter((v) => v > 0).length / 4096
      expect(share).toBeGreaterThan(0.4)
      expect(share).toBeLessThan(0.6)
    }
    expect(found.subarray(0, 4096)).not.toEqual(found.subarray(4096))
  },
  whole,
)
