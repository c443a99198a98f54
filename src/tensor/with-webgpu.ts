/** Gives the program the WebGPU backend. */
import { chunk } from '../chunk.ts'
import { backends } from './request.ts'

const code = <T>(loading: Promise<T>): Promise<T> => chunk('webgpu-unavailable', 'of the backend webgpu', loading)

backends.webgpu = {
  hardwareAdapter: async () => (await code(import('./webgpu/hardware.ts'))).hardwareAdapter(),
  request: async (options, found) => (await code(import('./webgpu/request.ts'))).requestWebGPU(options, found),
}
