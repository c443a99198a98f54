/**
 * Which kernels a run uses. On a GPU they are measured before the first batch (once for an adapter and a shape; later
 * runs remember), on the CPU the rule of thumb stands: measuring would take longer than it saves. run.json names them,
 * so that a replay and a resumed run add in the same order, to the bit.
 */
import { grad, zeros, type Tensor } from '../../tensor/index.ts'
import { cycled } from '../../tweedie/labels.ts'
import type { Kernels } from '../../tweedie/run-record.ts'
import type { SampleSettings } from '../options/sample.ts'
import { progress, type Progress } from '../progress.ts'
import type { Setup } from './setup.ts'

/** Uses the kernels of an earlier run and no others. */
export function useKernels({ device }: Setup, kernels: Kernels): void {
  device.kernels.clear()
  for (const [shape, variant] of Object.entries(kernels)) device.kernels.set(shape, variant)
}

/** Measures what has not been measured yet on this GPU. */
export async function measureKernels(
  { device, model, guidances, upsampler, distance, shape }: Setup,
  settings: SampleSettings,
  signal: AbortSignal,
): Promise<void> {
  if (device.adapter.software) return
  const n = Math.min(settings.batch, settings.number)
  const x = zeros(device, [n, ...shape])
  const timesteps = new Array<number>(n).fill(0)
  const y: { y?: number[] } =
    settings.labels.length > 0 ? { y: timesteps.map((_, k) => cycled(settings.labels, k)) } : {}
  let bar: Progress | null = null
  try {
    await device.tune(
      () => {
        const run = (): Tensor => model.forward(x, timesteps, y)
        if (settings.guide) grad(run, [x])
        else run()
        for (const { lead } of guidances)
          lead(
            timesteps.map((_, k) => k),
            y.y,
          ).guidance(x, timesteps)
        if (upsampler)
          upsampler.model.forward(zeros(device, [n, ...upsampler.shape]), timesteps, {
            lowRes: x,
            ...(upsampler.model.config.numClasses === null ? {} : y),
          })
        if (settings.guide) grad(() => distance.distance(x, x), [x])
        else distance.distance(x, x)
      },
      {
        signal,
        onProgress: (done, total) => {
          if (total === 0) return
          bar ??= progress('measuring kernels, once for this GPU', total, 'shapes')
          bar.update(done)
        },
      },
    )
  } finally {
    ;(bar as Progress | null)?.stop()
    x.dispose()
  }
}
