/** The shipped model draws the same pictures on every backend. */
import { expect, test } from 'vitest'
import { backends, testDevice } from '../op.ts'
import { draw, kinds } from '../shipped-samples.ts'

for (const [kind, options] of Object.entries(kinds)) {
  test(`sample 11 of a seed after 50 steps, ${kind}, agree between backends to 1e-3`, async () => {
    const [first, ...others] = [
      ...(await Promise.all(backends.map(async (name) => draw(await testDevice(name), [11], 50, options)))),
    ]
    expect(others.length).toBeGreaterThan(0)
    expect(Math.max(...first)).toBeGreaterThan(0.3)
    for (const other of others)
      expect(
        other.reduce((worst, v, i) => Math.max(worst, Math.abs(v - first[i])), 0),
        'largest difference',
      ).toBeLessThanOrEqual(1e-3)
  })
}
