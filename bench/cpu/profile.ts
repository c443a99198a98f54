/**
 * The share of a step's time by op on the CPU backend: every op of one pass is noted, then run again by itself on
 * tensors of the same shapes, and timed, each kind of op and shape apart. Ops that are equal in op, shapes and
 * parameters are timed once and counted.
 */
import { GaussianDiffusion, GeneratedNoise, oneStep, selfGuidance } from '../../src/diffusion/index.ts'
import { planOf, preset, stateDictOf, UNet, type Parameters } from '../../src/nn/index.ts'
import { grad, type Device, type Tensor, type View } from '../../src/tensor/index.ts'
import { loadUNet, smallUNet } from '../network.ts'
import { requestCpu } from './contenders/ours.ts'
import { median, timed } from './clock.ts'

export interface Share {
  readonly op: string
  readonly count: number
  readonly ms: number
}
export interface Profile {
  readonly title: string
  readonly whole: number
  readonly byOp: readonly Share[]
  readonly byShape: readonly Share[]
}

interface Call {
  readonly op: string
  readonly again: () => void
  readonly scratch: readonly Tensor[]
  count: number
}

const sizeOf = ({ shape }: View): number => shape.reduce((a, b) => a * b, 1)

/** The different ops that `work` runs, each with scratch tensors of its own. */
function callsOf(device: Device, work: () => void): Map<string, Call> {
  const { backend } = device
  const calls = new Map<string, Call>()
  const run = backend.run.bind(backend)
  backend.run = ((op, params, inputs, outputs) => {
    const key =
      `${op} ${JSON.stringify([inputs.map((t) => t.shape), outputs.map((t) => t.shape)])} ` +
      `${op === 'map' ? JSON.stringify(params).slice(0, 80) : ''}`
    const known = calls.get(key)
    if (known) known.count++
    else {
      const scratch = (views: readonly View[]): Tensor[] =>
        views.map((view) => device.keep(device.tensor(new Float32Array(sizeOf(view)), view.shape, view.dtype as 'f32')))
      const [from, to] = [scratch(inputs), scratch(outputs)]
      calls.set(key, { op, scratch: [...from, ...to], count: 1, again: () => run(op, params, from, to) })
    }
    run(op, params, inputs, outputs)
  }) as typeof backend.run
  try {
    work()
  } finally {
    backend.run = run
  }
  return calls
}

async function timesOf(device: Device, run: () => void, repeats: number): Promise<number> {
  const once = (): Promise<void> => {
    run()
    return device.flush()
  }
  // The first one packs weights and makes what is kept.
  await once()
  const times: number[] = []
  // A short op is run more often, for 20 ms.
  const end = performance.now() + 20
  do times.push((await timed(once, 0)).ms)
  while (times.length < repeats || (performance.now() < end && repeats > 1))
  return median(times)
}

async function profileOf(device: Device, title: string, work: () => void, repeats: number): Promise<Profile> {
  const whole = await timesOf(device, work, repeats)
  const calls = callsOf(device, work)
  await device.flush()
  const byOp = new Map<string, Share>()
  const byShape: Share[] = []
  for (const [key, { op, count, again, scratch }] of calls) {
    const ms = count * (await timesOf(device, again, repeats))
    for (const tensor of scratch) tensor.dispose()
    byShape.push({ op: key, count, ms })
    const sum = byOp.get(op) ?? { op, count: 0, ms: 0 }
    byOp.set(op, { op, count: sum.count + count, ms: sum.ms + ms })
  }
  const order = (shares: readonly Share[]): Share[] => [...shares].sort((a, b) => b.ms - a.ms)
  return { title, whole, byOp: order([...byOp.values()]), byShape: order(byShape) }
}

function print({ title, whole, byOp, byShape }: Profile): void {
  const total = byOp.reduce((sum, { ms }) => sum + ms, 0)
  console.log(`\n${title}: ${whole.toFixed(1)} ms; the ops one by one ${total.toFixed(1)} ms`)
  for (const list of [byOp, byShape.slice(0, 12)]) {
    for (const { op, count, ms } of list)
      console.log(
        `  ${ms.toFixed(2).padStart(10)} ms ${((100 * ms) / total).toFixed(1).padStart(5)} % ` +
          `${String(count).padStart(4)} x  ${op.slice(0, 150)}`,
      )
    console.log()
  }
}

export async function profile({ large }: { large: boolean }): Promise<Profile[]> {
  using device = await requestCpu(2, 'relaxed')
  console.log(`\nshare of the time by op: ${device.adapter.name}`)
  const shares: Profile[] = []
  const add = async (title: string, work: () => void, repeats: number): Promise<void> => {
    const found = await profileOf(device, title, () => device.scope(work), repeats)
    print(found)
    shares.push(found)
  }
  const images = (batch: number, size: number): GeneratedNoise =>
    new GeneratedNoise(device, { seed: 0, samples: Array.from({ length: batch }, (_, k) => k), shape: [3, size, size] })
  {
    using model = await loadUNet(device, smallUNet())
    const batch = 16
    const noise = images(batch, 32)
    const x = noise.initial()
    const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '50' })
    const denoiser = (xs: Tensor, t: readonly number[]): Tensor => model.forward(xs, t)
    const t = new Array<number>(batch).fill(500)
    await add(`small U-Net, forward, batch ${batch}`, () => void model.forward(x, t), 5)
    await add(
      `self-guided step (L2), batch ${batch}`,
      () => void oneStep(diffusion, denoiser, x, 25, { noise, selfGuidance: selfGuidance({ weight: 0.4 }) }),
      5,
    )
    await add(
      `forward and backward, all parameter gradients, batch ${batch}`,
      () => void grad(() => model.forward(x, t), [...model.parameters.values()]),
      5,
    )
    x.dispose()
    noise.dispose()
  }
  if (large) {
    const { config } = preset('celeba64_uncond')
    if (config.kind !== 'unet') throw new Error('celeba64_uncond is a U-Net')
    // Values do not matter for time; they are small, so that nothing overflows.
    const small = (n: number): Float32Array =>
      Float32Array.from({ length: n }, (_, i) => 0.02 * Math.sin(i * 12.9898 + 1))
    const parameters: Parameters = new Map(
      [...stateDictOf(planOf(config))].map(([key, shape]) => [
        key,
        device.tensor(small(shape.reduce((a, b) => a * b, 1)), shape),
      ]),
    )
    using model = new UNet(config, parameters)
    const noise = images(1, 64)
    using x = noise.initial()
    await add('ADM-64 (CelebA-64), forward, batch 1', () => void model.forward(x, [500]), 1)
    noise.dispose()
  }
  return shares
}
