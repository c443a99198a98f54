/** Gives the program the CPU backend. */
import { backends, code } from './request.ts'

backends.cpu = {
  request: async (options) => (await code('cpu', import('./cpu/request.ts'))).requestCPU(options),
}
