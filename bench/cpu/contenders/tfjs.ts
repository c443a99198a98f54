/**
 * tfjs-backend-wasm (XNNPACK compiled to WebAssembly), in its own layout, NHWC, and with its caches of packed weights.
 * One thread: its threaded build starts its workers from a blob: URL, which Node's Worker refuses (ERR_WORKER_PATH).
 */
import module from 'node:module'
import type * as Tf from '@tensorflow/tfjs-core'
import { readTensor, type Prepare } from '../protocol.ts'

const peer = module.createRequire(import.meta.url)

export async function tfjsPrepare(): Promise<Prepare> {
  const tf = peer('@tensorflow/tfjs-core') as typeof Tf
  const { version_wasm } = peer('@tensorflow/tfjs-backend-wasm') as { version_wasm: string }
  await tf.setBackend('wasm')
  return async (task) => {
    const note = `${version_wasm}, SIMD ${String(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT'))}`
    if (task.kind === 'conv') {
      const { batch, channels, size, dir } = task
      const x = tf.tidy(() =>
        tf.transpose(tf.tensor4d(readTensor(dir, 'x'), [batch, channels, size, size]), [0, 2, 3, 1]),
      ) as Tf.Tensor4D
      const w = tf.tidy(() =>
        tf.transpose(tf.tensor4d(readTensor(dir, 'w'), [channels, channels, 3, 3]), [2, 3, 1, 0]),
      ) as Tf.Tensor4D
      const conv = (): Tf.Tensor => tf.conv2d(x, w, 1, 'same')
      return {
        y: tf.tidy(() => tf.transpose(conv(), [0, 3, 1, 2]).dataSync<'float32'>()).slice(),
        run: () => conv().dispose(),
        note,
      }
    }
    if (task.kind !== 'gemm') throw new Error(`tfjs-wasm does not do ${task.kind} here`)
    const [a, b] = ['x', 'w'].map((name) => tf.tensor2d(readTensor(task.dir, name), [task.size, task.size])) as [
      Tf.Tensor2D,
      Tf.Tensor2D,
    ]
    const product = (): Tf.Tensor => tf.matMul(a, b)
    return { y: product().dataSync<'float32'>().slice(), run: () => product().dispose(), note }
  }
}
