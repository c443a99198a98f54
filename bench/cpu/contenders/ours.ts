/** Tweedie's CPU backend. */
import { readFileSync } from 'node:fs'
import v8 from 'node:v8'
import { GaussianDiffusion } from '../../../src/diffusion/index.ts'
import { conv2d, Device, grad, matmul, type Tensor } from '../../../src/tensor.ts'
import { diffusionTask, Trainer } from '../../../src/train/index.ts'
import { loadUNet } from '../../network.ts'
import type { NetworkTask } from '../clock.ts'
import { readTensor, type Prepare, type Prepared } from '../protocol.ts'
import { neighbours } from './neighbours.ts'

export async function requestCpu(threads: number, simd: 'plain' | 'relaxed'): Promise<Device> {
  // Node 22 has relaxed SIMD by itself; on Node 20 it hides behind this flag, which the library leaves alone.
  if (simd === 'relaxed' && Number(process.versions.node.split('.')[0]) < 22)
    v8.setFlagsFromString('--experimental-wasm-relaxed-simd')
  return Device.request({ backend: 'cpu', threads, simd })
}

export async function oursPrepare(threads: number, simd: 'plain' | 'relaxed'): Promise<Prepare> {
  const device = await requestCpu(threads, simd)
  const note = device.adapter.name
  const once = (op: () => Tensor): Promise<void> => {
    op().dispose()
    return device.flush()
  }
  const take = async (tensor: Tensor): Promise<Float32Array> => {
    const values = await tensor.read()
    tensor.dispose()
    return values
  }

  async function network(task: NetworkTask): Promise<Prepared> {
    const model = await loadUNet(device, readFileSync(task.weights))
    const shape = [task.batch, 3, 32, 32]
    const x = device.tensor(readTensor(task.dir, 'x'), shape)
    const t = readTensor(task.dir, 't')
    const forward = (): Tensor => model.forward(x, t)
    if (task.kind === 'unet') return { y: await take(forward()), run: () => take(forward()), note }
    if (task.kind === 'step') {
      const y = await take(forward())
      const images = readTensor(task.dir, 'x')
      const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000 })
      const trainer = new Trainer(
        device,
        diffusionTask(device, { model, diffusion, seed: 0, load: async () => ({ images }) }),
        { batch: task.batch, steps: 1e6, lr: 1e-6, emaRates: [0.9995] },
      )
      return { y, run: () => trainer.next(), note }
    }
    const cotangent = device.tensor(readTensor(task.dir, 'cotangent'), [task.batch, 6, 32, 32])
    // In alphabetical order, as tasks.ts compares them.
    const parameters = [...model.parameters].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, tensor]) => tensor)
    const step = (): { value: Tensor; gradients: Tensor[] } => grad(forward, parameters, cotangent)
    const { value, gradients } = step()
    const parts: Float32Array[] = []
    for (const gradient of gradients) parts.push(await take(gradient))
    const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
    parts.reduce((at, part) => (all.set(part, at), at + part.length), 0)
    const run = (): Promise<void> => {
      const made = step()
      for (const tensor of [made.value, ...made.gradients]) tensor.dispose()
      return device.flush()
    }
    return { y: await take(value), gradients: all, run, note }
  }

  return async (task) => {
    if (task.kind === 'conv') {
      const x = device.tensor(readTensor(task.dir, 'x'), [task.batch, task.channels, task.size, task.size])
      const w = device.tensor(readTensor(task.dir, 'w'), [task.channels, task.channels, 3, 3])
      const op = (): Tensor => conv2d(x, w, { padding: 1 })
      return { y: await take(op()), run: () => once(op), note }
    }
    if (task.kind === 'gemm') {
      const [a, b] = ['x', 'w'].map((name) => device.tensor(readTensor(task.dir, name), [task.size, task.size])) as [
        Tensor,
        Tensor,
      ]
      const op = (): Tensor => matmul(a, b)
      return { y: await take(op()), run: () => once(op), note }
    }
    if (task.kind === 'neighbours') return neighbours(device, task)
    return network(task)
  }
}
