/** Whether there is hardware worth loading kernels for. */
import { TweedieError } from '../../errors.ts'
import { mayHaveGPU, requestGPU } from '#platform'
import { describeAdapter, infoOf } from './adapter.ts'

/** The best hardware adapter. Null where there is none: a software one is slower than the CPU backend. */
export async function hardwareAdapter(): Promise<GPUAdapter | null> {
  if (!mayHaveGPU()) return null
  try {
    const adapter = await (await requestGPU()).requestAdapter({ powerPreference: 'high-performance' })
    return adapter && !describeAdapter(await infoOf(adapter), adapter.limits).software ? adapter : null
  } catch (error) {
    if (error instanceof TweedieError && error.code === 'option') throw error
    // The package `webgpu` is not installed, or does not load here.
    return null
  }
}
