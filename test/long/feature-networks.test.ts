/**
 * Feature networks of others at full size on WebGPU, one picture each: 40 GFLOP, some 40 s on SwiftShader. The CPU
 * backend's are in test/feature-networks.test.ts.
 */
import { checkResNet50, checkVgg16, checkViT } from '../golden-features.ts'
import { deviceTest, type DeviceTestOptions } from '../op.ts'
import { describeShared } from '../shared.ts'

const onWebGPU: DeviceTestOptions = { on: ['webgpu'], timeout: 600_000 }

describeShared('as their own code', () => {
  deviceTest('ResNet-50', (device) => checkResNet50(device, 1), onWebGPU)
  deviceTest('VGG-16', (device) => checkVgg16(device, 1), onWebGPU)
  deviceTest('ViT-S/16', (device) => checkViT(device, 224), onWebGPU)
})
