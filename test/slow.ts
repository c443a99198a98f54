/**
 * Tests that take most of a minute with WGSL on a software driver: `npm test` runs them on the CPU backend, and
 * `npm run test:long`, whose project lists their files, on WebGPU.
 */
import { backends, cpuBackends, type DeviceTestOptions } from './op.ts'

export const slow: DeviceTestOptions = {
  on: process.env.TWEEDIE_LONG ? backends.filter((name) => name === 'webgpu') : cpuBackends,
}
