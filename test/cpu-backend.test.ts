/** The CPU backend's plumbing: memory, workers, batches. What its kernels compute is checked by the op tests. */
import { expect, test } from 'vitest'
import { Device } from '../src/tensor/index.ts'

test('values travel to the workers and back, in order', async () => {
  using device = await Device.request({ backend: 'cpu', threads: 2 })
  using x = device.tensor([1, 2, 3])
  using y = device.tensor([0, 0, 0])
  y.assign(x)
  x.write([4, 5, 6])
  expect([...(await y.read()), ...(await x.read())]).toEqual([1, 2, 3, 4, 5, 6])
  using big = device.tensor(Float32Array.from({ length: 1_000_003 }, (_, i) => i % 1000))
  using copy = device.tensor(new Float32Array(1_000_003))
  for (let i = 0; i < 50; i++) copy.assign(big)
  expect((await copy.read()).every((v, i) => v === i % 1000)).toBe(true)
})
