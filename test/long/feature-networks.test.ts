/**
 * Feature networks of others at full size on WebGPU, one picture each, and both pictures of the goldens on the CPU
 * backend: 100 GFLOP, some 30 s. test/feature-networks.test.ts has one picture on the CPU backend.
 */
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
  deviceTest('ViT-S/16', (device) => checkViT(device, 224), onWebGPU)
})
