/** Gives the program the WebGPU backend. */
import { backends } from './backends.ts'

backends.webgpu = {
  hardwareAdapter: async () => (await import('./webgpu/adapter.ts')).hardwareAdapter(),
  request: async (options, found) => (await import('./webgpu/request.ts')).requestWebGPU(options, found),
}
