/** TensorFlow.js, in its own layout, channels last: by WebGPU, or by WebAssembly (XNNPACK) on one thread. */
import type { Peer } from '../peers.ts'
import { channelsLast, sideOf } from './layout.ts'

const version = '4.22.0'

interface Tensor {
  data(): Promise<Float32Array>
  dispose(): void
}
/** What is used of it. */
interface Tf {
  tensor(data: Float32Array, shape: readonly number[]): Tensor
  transpose(x: Tensor, order: readonly number[]): Tensor
  conv2d(x: Tensor, weight: Tensor, stride: number, pad: 'same'): Tensor
  matMul(a: Tensor, b: Tensor): Tensor
  softmax(x: Tensor): Tensor
  sigmoid(x: Tensor): Tensor
  mul(a: Tensor, b: Tensor): Tensor
  slice(x: Tensor, from: readonly number[], size: readonly number[]): Tensor
  reshape(x: Tensor, shape: readonly number[]): Tensor
  tidy<T>(f: () => T): T
  setBackend(name: string): Promise<boolean>
  readonly wasm?: { setWasmPaths(path: string): void }
}

export const peer = (cdn: string): Peer => ({
  name: `tfjs ${version}`,
  async load(backend) {
    const from = (name: string): string => `${cdn}@tensorflow/tfjs-${name}@${version}/dist/`
    const which = backend === 'webgpu' ? 'webgpu' : 'wasm'
    // Scripts that make a global of themselves, one after the other.
    await import(/* @vite-ignore */ `${from('core')}tf-core.min.js`)
    await import(/* @vite-ignore */ `${from(`backend-${which}`)}tf-backend-${which}.min.js`)
    const { tf } = globalThis as { tf?: Tf }
    if (!tf) throw new Error('its scripts made no tf')
    if (which === 'wasm') tf.wasm?.setWasmPaths(from('backend-wasm'))
    if (!(await tf.setBackend(which))) throw new Error(`it has no ${which} backend here`)
    return async ({ as, sizes, inputs }) => {
      const made = inputs.map(({ data, shape }) => tf.tensor(data, shape))
      const side = sideOf(as)
      let compute: () => Tensor
      let back = (y: Float32Array): Float32Array => y
      if (side) {
        const [x, w] = [tf.transpose(made[0], [0, 2, 3, 1]), tf.transpose(made[1], [2, 3, 1, 0])]
        made.push(x, w)
        compute = () => tf.conv2d(x, w, 1, 'same')
        back = (y) => channelsLast(y, sizes.n, sizes.h * sizes.w)
      } else if (as === 'matmul') compute = () => tf.matMul(made[0], made[1])
      else if (as === 'softmax') compute = () => tf.softmax(made[0])
      else if (as === 'silu') compute = () => tf.tidy(() => tf.mul(made[0], tf.sigmoid(made[0])))
      else {
        for (const one of made) one.dispose()
        return null
      }
      const read = async (): Promise<Float32Array> => {
        const out = compute()
        const data = await out.data()
        out.dispose()
        return data
      }
      let last: Tensor | null = null
      return {
        run() {
          last?.dispose()
          last = compute()
        },
        // Nothing but a read tells when it is done: of one number.
        async wait() {
          const one = tf.tidy(() => tf.slice(tf.reshape(last as Tensor, [-1]), [0], [1]))
          await one.data()
          one.dispose()
        },
        read: async () => back(await read()),
        dispose() {
          last?.dispose()
          for (const one of made) one.dispose()
        },
      }
    }
  },
})
