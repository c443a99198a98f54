/** Passes through networks: their commands are counted (counts.ts), and their kernels compiled (static.ts). */
import { GaussianDiffusion, GeneratedNoise, oneStep, sampleLoop } from '../../src/diffusion/index.ts'
import { networkConfigs, type NetworkConfig } from '../../src/bench/networks.ts'
import { planOf, stateDictOf, UNet } from '../../src/nn/index.ts'
import { Device, full, type Shape } from '../../src/tensor.ts'
import type { WebGPUBackend } from '../../src/tensor/webgpu/backend.ts'
import { diffusionTask, Trainer } from '../../src/train/index.ts'
import { CountingGPU } from './counting-gpu.ts'

export const networks: Readonly<Record<string, NetworkConfig>> = {
  toy: networkConfigs.toy,
  'ADM-64': networkConfigs['adm-64'],
}

/** The network with weights that are all 0. */
export function networkOf(device: Device, config: NetworkConfig): UNet {
  const parameters = new Map(
    [...stateDictOf(planOf(config))].map(([name, shape]) => [name, device.keep(full(device, shape, 0))]),
  )
  return new UNet(config, parameters)
}

/**
 * A piece of work of which each step does the same. Steps are the sampler's, which records one and replays it;
 * an eager one runs its ops every time.
 */
export type Pass = 'forward' | 'step' | 'guided step' | 'eager guided step' | 'training step'

/** Makes one step of `pass` after another; each is done when the promise is. */
export async function* steps(device: Device, model: UNet, pass: Pass, batch: number): AsyncGenerator<void> {
  const { inChannels, imageSize } = model.config
  const shape = [inChannels, imageSize, imageSize]
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '50' })
  if (pass === 'forward') {
    const x = full(device, [batch, ...shape], 0)
    for (;;) {
      model.forward(x, new Array<number>(batch).fill(500)).dispose()
      await device.flush()
      yield
    }
  }
  if (pass === 'training step') {
    const images = new Float32Array(batch * inChannels * imageSize ** 2)
    const task = diffusionTask(device, { model, diffusion, load: async () => ({ images }), seed: 0 })
    const trainer = new Trainer(device, task, { batch, steps: 1000, lr: 1e-4, emaRates: [0.999, 0.9999] })
    for (;;) {
      await trainer.next()
      await device.flush()
      yield
    }
  }
  const noise = new GeneratedNoise(device, { seed: 0, samples: Array.from({ length: batch }, (_, k) => k), shape })
  const guidance = pass === 'step' ? {} : { selfGuidance: { weight: 0.4, every: 1 } }
  if (pass === 'eager guided step') {
    const x = noise.initial()
    for (;;) {
      device.scope(() => void oneStep(diffusion, model, x, 25, { noise, ...guidance }))
      await device.flush()
      yield
    }
  }
  for await (const _ of sampleLoop(diffusion, model, { noise, ...guidance })) yield
}

/** An op that was run, not replayed, and what the queue was asked for: kernels by name, with their workgroups. */
export interface Ran {
  readonly op: string
  readonly inputs: readonly Shape[]
  readonly outputs: readonly Shape[]
  readonly kernels: readonly { readonly key: string; readonly grid: readonly [number, number, number] }[]
}

/** What one step gives the GPU, once nothing new is made any more. */
export interface Counted {
  readonly gpu: CountingGPU
  readonly ops: readonly Ran[]
  readonly flops: number
  /** Of all buffers alive at once, weights included. */
  readonly peakBytes: number
}

/** What an H100 does in a millisecond by the design's model of these kernels: ADM-64's guided step of 32 ms. */
const workPerMs = 25e9

/**
 * Runs a pass on a GPU that only counts; what is counted is the third step. How much goes into a submission depends on
 * how long the last ones took: time passes where this GPU is waited for, by its work.
 */
export async function count(config: NetworkConfig, pass: Pass, batch: number): Promise<Counted> {
  const { now } = performance
  try {
    return await countStep(config, pass, batch)
  } finally {
    performance.now = now
  }
}

async function countStep(config: NetworkConfig, pass: Pass, batch: number): Promise<Counted> {
  const gpu = new CountingGPU()
  const device = await Device.request({ backend: 'webgpu', gpuDevice: gpu.device })
  const { backend } = device
  let time = 0
  performance.now = () => time
  gpu.onWait = () => void (time = (device.stats.flops + 10 * device.stats.bytes) / workPerMs)
  const walk = steps(device, networkOf(device, config), pass, batch)
  for (let i = 0; i < 2; i++) await walk.next()
  gpu.forget()
  const flops = device.stats.flops
  const ran: { op: string; inputs: Shape[]; outputs: Shape[]; dispatches: number }[] = []
  const run = backend.run.bind(backend)
  backend.run = (op, params, inputs, outputs, user) => {
    const before = device.stats.dispatches
    run(op, params, inputs, outputs, user)
    const dispatches = device.stats.dispatches - before
    ran.push({ op, inputs: inputs.map((v) => v.shape), outputs: outputs.map((v) => v.shape), dispatches })
  }
  await walk.next()
  // Commands keep their order on the way through the queue.
  const dispatches = gpu.commands.filter(({ kind }) => kind === 'dispatch')
  let next = 0
  const ops = ran.map(({ dispatches: count, ...op }): Ran => {
    const kernels = dispatches.slice(next, (next += count)).map(({ kernel: key, grid }) => ({ key, grid }))
    return { ...op, kernels }
  })
  return { gpu, ops, flops: device.stats.flops - flops, peakBytes: device.stats.peakBytes }
}

/**
 * WGSL of every kernel that a guided step and a training step of the networks run at batch 1, by its key: whatever is
 * chosen where there is a choice.
 */
export async function networkKernels(): Promise<Map<string, string>> {
  const kernels = new Map<string, string>()
  for (const config of Object.values(networks)) {
    for (const pass of ['eager guided step', 'training step'] as const) {
      const gpu = new CountingGPU()
      const device = await Device.request({ backend: 'webgpu', gpuDevice: gpu.device })
      const backend = device.backend as WebGPUBackend
      const seen = new Set<string>()
      backend.onChoice = ({ key, candidates, inputs, outputs, again }) => {
        if (seen.has(key)) return
        seen.add(key)
        for (const candidate of candidates) {
          backend.choices.set(key, candidate)
          again(inputs, outputs)
        }
      }
      await steps(device, networkOf(device, config), pass, 1).next()
      for (const [key, code] of gpu.kernels) kernels.set(key, code)
    }
  }
  return kernels
}

/** A kernel's key without the marks of JSON: `conv2d-tile {"side":16,"kh":3}` is `conv2d-tile side 16 kh 3`. */
export const plainKey = (key: string): string => key.replace(/[{}"]/g, '').replace(/[:,]/g, ' ')
