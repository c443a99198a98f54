/**
 * Whole passes through networks, with weights that are made here: the forward pass, a step of sampling with
 * self-guidance, and the gradients of training. Values change no time, but they must stay finite, and a formula makes
 * them the same in any other program.
 */
import { GaussianDiffusion, GeneratedNoise, oneStep, selfGuidance } from '../diffusion/index.ts'
import { memoryOf, planOf, preset, stateDictOf, UNet, type UNetConfig } from '../nn/index.ts'
import { grad, type Device, type DeviceNeed, type Tensor } from '../tensor/index.ts'
import { hash, hashWeights } from './formula.ts'
import { stopwatchOf, timeRuns, wallClockOf, type Timing, type TimingOptions } from './timing.ts'

/** A U-Net that draws pictures without low-resolution ones. */
export type NetworkConfig = UNetConfig & { readonly kind: 'unet' }

/** The network of weights/bccd32-adm.safetensors. */
const toy: NetworkConfig = {
  kind: 'unet',
  superResolution: false,
  imageSize: 32,
  inChannels: 3,
  outChannels: 6,
  modelChannels: 32,
  channelMult: [2, 2, 2],
  numResBlocks: 1,
  attentionResolutions: [4],
  numHeadChannels: 32,
  numHeads: 1,
  dropout: 0,
  convResample: true,
  numClasses: null,
  useScaleShiftNorm: true,
  resblockUpdown: true,
  useNewAttentionOrder: true,
}

/** The networks that are measured: the small one that ships, and a published one of 296 million parameters. */
export const networkConfigs: Readonly<Record<'toy' | 'adm-64', NetworkConfig>> = {
  toy,
  'adm-64': preset('celeba64_uncond').config as NetworkConfig,
}

export const passes = ['forward', 'guided step', 'training'] as const
/** `training` is the forward pass and the gradients by every parameter. */
export type Pass = (typeof passes)[number]

/** A pass, measured. */
export interface NetworkRow extends Timing {
  readonly kind: 'network'
  readonly network: string
  readonly pass: Pass
  readonly batch: number
  readonly flops: number
  readonly bytes: number
  readonly dispatches: number
  readonly submits: number
  /** What the GPU works on it by its own clock; null on the CPU backend. `ms` is by the wall clock. */
  readonly gpuMs: number | null
  /** What the host takes to enqueue the pass, in milliseconds. */
  readonly hostMs: number
  /** Bytes of all tensors alive at once, at most, weights included. */
  readonly peakBytes: number
  /** Every step runs the network's code again, or replays what it enqueued once (`Device.record`). */
  readonly recorded: boolean
  /** What came out is finite; of a recorded pass, to the bit what the other gives. */
  readonly right: boolean
}

export const needOf = (config: NetworkConfig, batch: number, pass: Pass): DeviceNeed =>
  memoryOf(config, { batch, gradient: pass === 'guided step', parameters: pass === 'training' })

/** The network with weights by formula: to the bit those of bench/gpu/torch_unet.py. */
export async function formulaNetwork(device: Device, config: NetworkConfig, signal?: AbortSignal): Promise<UNet> {
  const parameters = new Map<string, Tensor>()
  for (const [key, shape] of stateDictOf(planOf(config))) {
    signal?.throwIfAborted()
    parameters.set(key, device.keep(device.tensor(hashWeights(key, shape, parameters.size, 1), shape)))
    // A large network is not held twice: what is enqueued holds a copy.
    if (parameters.size % 32 === 0) await device.flush()
  }
  return new UNet(config, parameters)
}

/** The images that go in: variance 1. */
export function formulaInput(device: Device, { inChannels, imageSize }: NetworkConfig, batch: number): Tensor {
  const count = batch * inChannels * imageSize ** 2
  return device.tensor(hash(count, 1000, 1, Math.sqrt(3)), [batch, inChannels, imageSize, imageSize])
}

/** The timestep of every pass. */
export const timestep = 500

/** A pass that can be run again and again, on the images and noise that {@link benchNetwork} gives it. */
export interface Work extends Disposable {
  run(): Tensor
}

export function workOf(device: Device, model: UNet, pass: Pass, batch: number): Work {
  const { imageSize, inChannels, outChannels } = model.config
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '50' })
  const samples = Array.from({ length: batch }, (_, k) => k)
  const noise = new GeneratedNoise(device, { seed: 0, samples, shape: [inChannels, imageSize, imageSize] })
  const x = device.keep(formulaInput(device, model.config as NetworkConfig, batch))
  const cotangent = device.keep(
    device.tensor(hash(batch * outChannels * imageSize ** 2, 1001, 1, 1), [batch, outChannels, imageSize, imageSize]),
  )
  const parameters = [...model.parameters.values()]
  const timesteps = samples.map(() => timestep)
  const denoiser = (images: Tensor, t: readonly number[]): Tensor => model.forward(images, t)
  const guidance = { noise, selfGuidance: selfGuidance({ weight: 0.4 }) }
  return {
    run: () => {
      if (pass === 'forward') return model.forward(x, timesteps)
      if (pass === 'guided step') return device.scope(() => oneStep(diffusion, denoiser, x, 25, guidance).next)
      return device.scope(() => grad(() => model.forward(x, timesteps), parameters, cotangent).value)
    },
    [Symbol.dispose]: () => [noise, x, cotangent].forEach((owned) => owned.dispose()),
  }
}

/**
 * One pass, timed as {@link timeRuns} does it, and on a GPU a second time recorded; a pass is long, so that a few
 * samples may do.
 */
export async function benchNetwork(
  device: Device,
  name: string,
  model: UNet,
  pass: Pass,
  batch: number,
  options: TimingOptions = {},
): Promise<NetworkRow[]> {
  using work = workOf(device, model, pass, batch)
  const { run } = work
  const rows: NetworkRow[] = []
  const measured = async (recorded: boolean, once: () => void, result: Float32Array, right: boolean): Promise<void> => {
    const { flops, bytes, dispatches, submits } = device.stats
    const started = performance.now()
    once()
    const hostMs = performance.now() - started
    await device.flush()
    const { stats } = device
    const counted = {
      flops: stats.flops - flops,
      bytes: stats.bytes - bytes,
      dispatches: stats.dispatches - dispatches,
      submits: stats.submits - submits,
      peakBytes: stats.peakBytes,
    }
    const [timing] = await timeRuns([once], await wallClockOf(device), options)
    const gpuMs = device.backend.kind === 'cpu' ? null : await (await stopwatchOf(device))(once, 1)
    const finite = right && result.every(Number.isFinite)
    const what = { kind: 'network' as const, network: name, pass, batch, recorded, right: finite }
    rows.push({ ...what, ...timing, ...counted, gpuMs, hostMs })
  }
  const first = run()
  const result = await first.read()
  first.dispose()
  await measured(false, () => run().dispose(), result, true)
  if (device.backend.kind === 'cpu') return rows
  using program = device.record(run)
  const again = await program.replay(1).read()
  const same = again.every((value, i) => Object.is(value, result[i]))
  await measured(true, () => void program.replay(1), again, same)
  return rows
}
