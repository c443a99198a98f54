/**
 * Which kernels a run uses. On a GPU they are measured before the first batch (once for an adapter and a shape; later
 * runs remember), on the CPU the rule of thumb stands: measuring would take longer than it saves. run.json names them,
 * so that a replay and a resumed run add in the same order, to the bit.
 */
import { grad, zeros, type Device, type Tensor } from '../../tensor/index.ts'
import { cycled } from '../../tweedie/labels.ts'
import type { Kernels } from '../../tweedie/run-record.ts'
import type { SampleSettings } from '../options/sample.ts'
import { progress, type Progress } from '../progress.ts'
import type { Setup } from './setup.ts'
import type { Upsampler } from './upsample.ts'

/** Uses the kernels of an earlier run and no others. */
export function useKernels(device: Device, kernels: Kernels): void {
  device.kernels.clear()
  for (const [shape, variant] of Object.entries(kernels)) device.kernels.set(shape, variant)
}

/** Measures what a run's model takes and has not been measured yet on this GPU. */
export async function measureKernels(
  { device, model, guidances, upsampler, distance, shape }: Setup,
  settings: SampleSettings,
  signal: AbortSignal,
): Promise<void> {
  const n = Math.min(settings.batch, settings.number)
  using x = zeros(device, [n, ...shape])
  const timesteps = new Array<number>(n).fill(0)
  const y: { y?: number[] } =
    settings.labels.length > 0 ? { y: timesteps.map((_, k) => cycled(settings.labels, k)) } : {}
  await measured(
    device,
    () => {
      const run = (): Tensor => model.forward(x, timesteps, y)
      if (settings.guide) grad(run, [x])
      else run()
      for (const { lead } of guidances)
        lead(
          timesteps.map((_, k) => k),
          y.y,
        ).guidance(x, timesteps)
      if (upsampler) upsamplerStep(upsampler, x, y)
      if (settings.guide) grad(() => distance.distance(x, x), [x])
      else distance.distance(x, x)
    },
    signal,
  )
}

/** A second stage's pass over small pictures. */
function upsamplerStep({ model, shape }: Upsampler, lowRes: Tensor, y: { y?: number[] }): void {
  const n = lowRes.shape[0]
  model.forward(zeros(lowRes.device, [n, ...shape]), new Array<number>(n).fill(0), {
    lowRes,
    ...(model.config.numClasses === null ? {} : y),
  })
}

/** Measures what a second stage alone takes for `n` pictures of the shape `small`. */
export async function measureUpsampler(
  device: Device,
  upsampler: Upsampler,
  [n, ...small]: readonly number[],
  signal: AbortSignal,
): Promise<void> {
  using lowRes = zeros(device, [n, ...small])
  await measured(device, () => upsamplerStep(upsampler, lowRes, { y: new Array<number>(n).fill(0) }), signal)
}

/** On a software adapter nothing: it would take longer than it saves. */
async function measured(device: Device, run: () => void, signal: AbortSignal): Promise<void> {
  if (device.adapter.software) return
  let bar: Progress | null = null
  try {
    await device.tune(run, {
      signal,
      onProgress: (done, total) => {
        if (total === 0) return
        bar ??= progress('measuring kernels, once for this GPU', total, 'shapes')
        bar.update(done)
      },
    })
  } finally {
    ;(bar as Progress | null)?.stop()
  }
}
