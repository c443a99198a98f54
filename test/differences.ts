/** Gradients of what is computed on a device, against central differences of it. */
import { expect } from 'vitest'
import type { Tensor } from '../src/tensor/index.ts'

/**
 * Holds `gradient`, of sum(cotangent * f(x)) by x, against differences along directions: the gradient itself,
 * its signs, and single elements where it is large. The sum is formed on the host in float64, so only the
 * rounding of f remains.
 */
export async function expectGradient(
  x: Tensor,
  f: (x: Tensor) => Tensor,
  gradient: Float32Array,
  cotangent?: ArrayLike<number>,
): Promise<void> {
  const { device } = x
  const values = await x.read()
  const along = async (direction: Float64Array): Promise<number> => {
    // In the L2 norm: large against the rounding of log p (2e-7), small against a network's curvature.
    const by = 2e-2 / Math.hypot(...direction)
    const shifted = async (distance: number): Promise<number> => {
      using moved = device.tensor(
        values.map((v, i) => v + distance * direction[i]),
        x.shape,
      )
      using out = device.scope(() => f(moved))
      return (await out.read()).reduce((sum, v, i) => sum + v * (cotangent?.[i] ?? 1), 0)
    }
    return ((await shifted(by)) - (await shifted(-by))) / (2 * by)
  }
  const largest = gradient.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  const order = Array.from(gradient.keys()).sort((a, b) => Math.abs(gradient[b]) - Math.abs(gradient[a]))
  const single = (at: number): Float64Array => Float64Array.from(gradient, (_, i) => (i === at ? 1 : 0))
  const directions = [
    Float64Array.from(gradient, (v) => v / largest),
    Float64Array.from(gradient, Math.sign),
    ...order.slice(0, 4).map(single),
  ]
  for (const [k, direction] of directions.entries()) {
    const expected = await along(direction)
    const found = gradient.reduce((sum, v, i) => sum + v * direction[i], 0)
    expect(
      Math.abs(found - expected),
      `direction ${k}: gradient ${found}, differences ${expected}`,
    ).toBeLessThanOrEqual(1e-2 * Math.abs(expected))
  }
}
