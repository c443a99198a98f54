/**
 * A step of its own for every sample of a batch, as training draws them. Coefficients are looked up on the host, in
 * float64, and reach a formula as [N, 1, 1, 1] tensors that broadcast over the images: still one kernel a formula.
 */
import { TweedieError } from '../../errors.ts'
import { expression, f, liveOf, map, now, type Device, type Live, type Tensor } from '../../tensor/index.ts'
import type { GaussianDiffusion } from './gaussian-diffusion.ts'

/** `of(t[n])` for every sample: [N, 1, 1, 1]. */
export const coefficients = (device: Device, t: Live<readonly number[]>, of: (t: number) => number): Tensor =>
  device.tensor(
    liveOf(t, (steps) => steps.map(of)),
    [now(t).length, 1, 1, 1],
  )

/** a x + b y with coefficients of every sample's own. */
export const combineEach = expression(4, 0, ([x, y, a, b]) => f.add(f.mul(a, x), f.mul(b, y)))

/** @throws TweedieError 'option' unless `t` is one index of the process for each of `n` samples */
export function checkSteps(diffusion: GaussianDiffusion, t: readonly number[], n: number): void {
  if (t.length !== n)
    throw new TweedieError('option', `Expected one step for each of the ${n} samples, found ${t.length}.`)
  const wrong = t.find((k) => !Number.isInteger(k) || k < 0 || k >= diffusion.steps)
  if (wrong !== undefined)
    throw new TweedieError('option', `A step is an index from 0 to ${diffusion.steps - 1}, found ${wrong}.`)
}

/**
 * q(x_t | x_0) at sample n's own step t[n]: sqrt(abar_t) xStart + sqrt(1 - abar_t) noise. [N, C, H, W]. In a recorded
 * step `t` may be a function that gives the steps.
 * @throws TweedieError 'option' for a step outside the process, or not one for each sample
 */
export function qSampleEach(
  diffusion: GaussianDiffusion,
  xStart: Tensor,
  t: Live<readonly number[]>,
  noise: Tensor,
): Tensor {
  checkSteps(diffusion, now(t), xStart.shape[0])
  const { device } = xStart
  const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = diffusion.process.tables
  return device.scope(() =>
    map(
      combineEach,
      [
        xStart,
        noise,
        coefficients(device, t, (k) => sqrtAlphaBar[k]),
        coefficients(device, t, (k) => sqrtOneMinusAlphaBar[k]),
      ],
      [],
      { name: 'qSampleEach' },
    ),
  )
}
