/** jax-js, each op compiled by its `jit`. Its arrays are given away with each use; `ref` keeps them. */
import type { Peer } from '../peers.ts'
import { channelsLast, sideOf, tokensFirst } from './layout.ts'

const version = '0.1.25'

interface Array_ {
  readonly ref: Array_
  dispose(): void
  data(): Promise<Float32Array>
  blockUntilReady(): Promise<unknown>
  reshape(shape: readonly number[]): Array_
}
/** What is used of it. */
interface Jax {
  init(...devices: string[]): Promise<string[]>
  defaultDevice(device: string): unknown
  jit<F>(f: F): F & { dispose?(): void }
  readonly numpy: { array(data: Float32Array, options?: object): Array_; matmul(a: Array_, b: Array_): Array_ }
  readonly lax: { conv(x: Array_, w: Array_, strides: readonly number[], padding: string): Array_ }
  readonly nn: {
    softmax(x: Array_): Array_
    silu(x: Array_): Array_
    dotProductAttention(q: Array_, k: Array_, v: Array_): Array_
  }
}

export const peer = (cdn: string): Peer => ({
  name: `jax-js ${version}`,
  async load(backend) {
    const jax = (await import(/* @vite-ignore */ `${cdn}@jax-js/jax@${version}/dist/index.js`)) as Jax
    const kind = backend === 'webgpu' ? 'webgpu' : 'wasm'
    if (!(await jax.init(kind)).includes(kind)) throw new Error(`it has no ${kind} backend here`)
    jax.defaultDevice(kind)
    const { numpy, lax, nn } = jax
    return async ({ as, inputs, sizes }) => {
      const f: ((...given: Array_[]) => Array_) | null = sideOf(as)
        ? (x, w) => lax.conv(x, w, [1, 1], 'SAME')
        : as === 'matmul'
          ? (a, b) => numpy.matmul(a, b)
          : as === 'softmax'
            ? (x) => nn.softmax(x)
            : as === 'silu'
              ? (x) => nn.silu(x)
              : as === 'attention'
                ? (q, k, v) => nn.dotProductAttention(q, k, v)
                : null
      if (!f) return null
      const compiled = jax.jit(f)
      const { n, t, heads, d } = sizes
      // Its attention takes tokens before heads.
      const given =
        as === 'attention'
          ? [0, 1, 2].map((part) => ({ data: tokensFirst(inputs[0].data, part, n, t), shape: [n, t, heads, d] }))
          : inputs
      const arrays = given.map(({ data, shape }) => numpy.array(data).reshape(shape))
      const compute = (): Array_ => compiled(...arrays.map((one) => one.ref))
      // It computes nothing that nobody waits for: what is disposed before is never run.
      const open: Array_[] = []
      return {
        run: () => void open.push(compute()),
        async wait() {
          await Promise.all(open.map((one) => one.blockUntilReady()))
          for (const one of open.splice(0)) one.dispose()
        },
        async read() {
          const y = await compute().data()
          return as === 'attention' ? channelsLast(y, n, t) : y
        },
        dispose() {
          for (const one of open.splice(0)) one.dispose()
          for (const one of arrays) one.dispose()
          compiled.dispose?.()
        },
      }
    }
  },
})
