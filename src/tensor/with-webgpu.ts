/** Gives the program the WebGPU backend. */
import { backends, code } from './request.ts'

backends.webgpu = {
  hardwareAdapter: async () => (await code('webgpu', import('./webgpu/adapter.ts'))).hardwareAdapter(),
  request: async (options, found) =>
    (await code('webgpu', import('./webgpu/request.ts'))).requestWebGPU(options, found),
}
