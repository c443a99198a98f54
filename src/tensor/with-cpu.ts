/** Gives the program the CPU backend. */
import { chunk } from '../chunk.ts'
import { backends } from './request.ts'

backends.cpu = {
  request: async (options) =>
    (await chunk('cpu-unavailable', 'of the backend cpu', import('./cpu/request.ts'))).requestCPU(options),
}
