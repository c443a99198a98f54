/**
 * The share of a forward pass's and a guided step's time by op, so that what is slow is seen: every op of one pass is
 * noted, then run again by itself on tensors of the same shapes, and timed. `npm run profile` in this directory.
 */
import { GaussianDiffusion, GeneratedNoise, oneStep, selfGuidance } from '../src/diffusion/index.ts'
import { Device, type View } from '../src/tensor.ts'
import { loadUNet, smallUNet } from './network.ts'

const repeats = Number(process.argv[2] ?? 5)
const device = await Device.request()
const { backend } = device
const model = await loadUNet(device, smallUNet())
const batch = 8
const noise = new GeneratedNoise(device, {
  seed: 0,
  samples: Array.from({ length: batch }, (_, k) => k),
  shape: [3, 32, 32],
})
const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '50' })
const x = noise.initial()

type Run = typeof backend.run
interface Call {
  readonly op: string
  readonly again: () => void
  readonly key: string
}

/** The ops that `work` runs, each with scratch tensors of its own. */
function callsOf(work: () => void): Call[] {
  const calls: Call[] = []
  const run: Run = backend.run.bind(backend)
  const copies = (views: readonly View[]): View[] =>
    views.map(({ shape, dtype }) =>
      device.keep(device.tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape, dtype)),
    )
  backend.run = ((op, params, inputs, outputs) => {
    const key =
      `${op} ${JSON.stringify([inputs.map((t) => t.shape), outputs.map((t) => t.shape)])} ` +
      `${op === 'map' ? JSON.stringify(params).slice(0, 60) : ''}`
    const [from, to] = [copies(inputs), copies(outputs)]
    calls.push({ op, key, again: () => run(op, params, from, to) })
    run(op, params, inputs, outputs)
  }) as Run
  try {
    work()
  } finally {
    backend.run = run
  }
  return calls
}

async function profile(title: string, work: () => void): Promise<void> {
  const calls = callsOf(work)
  await device.flush()
  const byOp = new Map<string, { count: number; ms: number }>()
  const byKey = new Map<string, { count: number; ms: number }>()
  const timed = new Map<string, number>()
  for (const call of calls) {
    if (!timed.has(call.key)) {
      call.again()
      await device.flush()
      const start = performance.now()
      for (let i = 0; i < repeats; i++) call.again()
      await device.flush()
      timed.set(call.key, (performance.now() - start) / repeats)
    }
    const ms = timed.get(call.key) as number
    for (const [map, name] of [
      [byOp, call.op],
      [byKey, call.key],
    ] as const) {
      const entry = map.get(name) ?? { count: 0, ms: 0 }
      map.set(name, { count: entry.count + 1, ms: entry.ms + ms })
    }
  }
  const total = [...byOp.values()].reduce((sum, { ms }) => sum + ms, 0)
  const table = (map: typeof byOp, most: number): void => {
    for (const [name, { count, ms }] of [...map].sort((a, b) => b[1].ms - a[1].ms).slice(0, most)) {
      console.log(
        `  ${ms.toFixed(1).padStart(8)} ms ${((100 * ms) / total).toFixed(1).padStart(5)} % ` +
          `${String(count).padStart(4)} x  ${name.slice(0, 150)}`,
      )
    }
  }
  console.log(`${title}: ${calls.length} ops, ${total.toFixed(0)} ms\n by op`)
  table(byOp, 12)
  console.log(' by shape')
  table(byKey, 12)
  console.log()
}

console.log(`${device.adapter.name}${device.adapter.software ? ' (SOFTWARE: no GPU figures)' : ''}, batch ${batch}\n`)
const denoiser = (images: typeof x, t: readonly number[]): typeof x => model.forward(images, t)
await profile('forward', () => model.forward(x, new Array<number>(batch).fill(500)).dispose())
await profile('self-guided step', () =>
  device.scope(() => void oneStep(diffusion, denoiser, x, 25, { noise, selfGuidance: selfGuidance({ weight: 0.4 }) })),
)
device.dispose()
