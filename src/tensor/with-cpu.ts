/** Gives the program the CPU backend. */
import { backends } from './backends.ts'

backends.cpu = {
  request: async (options) => (await import('./cpu/request.ts')).requestCPU(options),
}
