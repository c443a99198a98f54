/**
 * Which backend is faster for a piece of work, by what each reached here: a large GPU computes a thousand times what a
 * core does, but a kernel costs it microseconds, and a small network is hundreds of small kernels. A convolution of a
 * middling size and a chain of tiny ones are timed, once for an adapter, and remembered.
 */
import { cores } from '#platform'
import type { Backend, View, Work } from './backend.ts'
import { sizeOf } from './shape.ts'
import { recall, remember, type Reach } from './remembered.ts'

/** Milliseconds that `work` is predicted to take. */
export const predict = ({ flops, kernels }: Work, reach: Reach): number =>
  flops / reach.flops + kernels * reach.kernelMs

/** 128 bits of SIMD, two fused multiply-adds a cycle, 4 GHz: no core of today's does more, in operations a ms. */
const mostOfCore = 64e6

/** Whether the CPU may be the faster one, for all its cores' best. */
export const maybeCPU = (work: Work, gpu: Reach, threads: number = cores()): boolean =>
  predict(work, gpu) > work.flops / (Math.max(1, threads) * mostOfCore)

/** What a backend reached, now or in an earlier run on what is called `identity`. */
export async function reachOf(backend: Backend, identity: string): Promise<Reach> {
  const before = (await recall(identity)).reach
  if (before) return before
  const reach = await measure(backend)
  await remember(identity, { reach })
  return reach
}

const rounds = 3

async function measure(backend: Backend): Promise<Reach> {
  // 302 million operations: 5 ms of a few cores. And one whose arithmetic is nothing.
  const large = { n: 4, c: 64, side: 32, kernel: 3 }
  const ms = await timed(backend, large, 8)
  const kernelMs = await timed(backend, { n: 1, c: 4, side: 4, kernel: 1 }, 64)
  const { n, c, side, kernel } = large
  return { flops: (2 * n * (c * side * kernel) ** 2) / Math.max(ms - kernelMs, ms / 10), kernelMs }
}

/** Milliseconds a convolution takes in a chain of `repeats`, the host's part included: the median of three. */
async function timed(
  backend: Backend,
  { n, c, side, kernel }: { n: number; c: number; side: number; kernel: number },
  repeats: number,
): Promise<number> {
  const made = [
    [n, c, side, side],
    [n, c, side, side],
    [c, c, kernel, kernel],
  ].map((shape): View => {
    const values = new Float32Array(sizeOf(shape)).fill(1e-3)
    const storage = backend.allocate(values.byteLength, () => 'a tensor for measuring the device')
    backend.write(storage, values)
    return { shape, dtype: 'f32', storage }
  })
  const [a, b, weight] = made
  const params = { stride: 1, padding: (kernel - 1) / 2, bias: false, residual: false }
  const times: number[] = []
  try {
    // The first compiles.
    for (let round = 0; round <= rounds; round++) {
      const start = performance.now()
      for (let i = 0; i < repeats; i++) backend.run('conv2d', params, [i % 2 ? b : a, weight], [i % 2 ? a : b])
      await backend.flush()
      times.push((performance.now() - start) / repeats)
    }
  } finally {
    for (const { storage } of made) backend.free(storage)
  }
  return times.slice(1).sort((x, y) => x - y)[rounds >> 1]
}
