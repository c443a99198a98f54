/**
 * Our kernels and networks by themselves: convolution (forward, data and weight gradient), group norm, attention at the
 * shapes of the small U-Net (network.ts; batch 8) and of ADM-64 (batch 1), then one forward pass and one guided
 * step of the small U-Net, with --large of ADM-64 too (weights by formula: 1.2 GB). For each: milliseconds,
 * GFLOP/s where arithmetic is what it is about, the bytes its kernels were given, dispatches and submits.
 * `npm run kernels` in this directory.
 *
 * Every row is the median over interleaved rounds; the first run, which compiles, stands apart. On a software adapter
 * these are no GPU figures, and the head line says so.
 */
import { GaussianDiffusion, GeneratedNoise, oneStep, selfGuidance } from '../src/diffusion/index.ts'
import { memoryOf, preset, UNet, planOf, stateDictOf, type Parameters } from '../src/nn/index.ts'
import { attention, conv2d, Device, grad, groupNorm, type Tensor } from '../src/tensor.ts'
import { applyOne } from '../src/tensor/op.ts'
import { conv2dDataGrad, conv2dWeightGrad } from '../src/tensor/ops/conv2d.ts'
import { loadUNet, smallUNet } from './network.ts'

const arguments_ = process.argv.slice(2)
const large = arguments_.includes('--large')
const tune = arguments_.includes('--tune')
const rounds = Number(arguments_.find((a) => /^\d+$/.test(a)) ?? 7)
const adm64 = preset('celeba64_uncond').config
const device = await Device.request({
  need: memoryOf(large ? adm64 : { ...adm64, channelMult: [1], attentionResolutions: [], modelChannels: 192 }, {
    batch: 1,
    gradient: true,
  }),
})
const { name, software } = device.adapter
console.log(
  `${name}${software ? ' (SOFTWARE: computed by the CPU, no GPU figures)' : ''}; medians of ${rounds} ` +
    `interleaved rounds${tune ? '; kernels tuned' : ''}\n`,
)

const random = (n: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i * 12.9898 + 1) % 1))
const tensor = (...shape: number[]): Tensor => device.tensor(random(shape.reduce((a, b) => a * b, 1)), shape)
const median = (a: readonly number[]): number => [...a].sort((x, y) => x - y)[a.length >> 1]

interface Row {
  readonly name: string
  readonly run: () => unknown
  readonly times: number[]
  /** Counted in one run. */
  first: number
  flops: number
  dispatches: number
  submits: number
  bytes: number
}

const dispose = (made: unknown): void => {
  if (Array.isArray(made)) made.forEach(dispose)
  else if (made && typeof made === 'object' && 'dispose' in made) (made as Tensor).dispose()
  else if (made && typeof made === 'object') Object.values(made).forEach(dispose)
}

async function once(row: Row): Promise<number> {
  const start = performance.now()
  const made = row.run()
  await device.flush()
  const ms = performance.now() - start
  dispose(made)
  return ms
}

async function measure(
  title: string,
  list: readonly [name: string, run: () => unknown][],
  free: readonly Tensor[] = [],
): Promise<void> {
  const rows = list.map(
    ([name, run]): Row => ({ name, run, times: [], first: 0, flops: 0, dispatches: 0, submits: 0, bytes: 0 }),
  )
  if (tune) for (const row of rows) await device.tune(() => dispose(row.run()))
  for (const row of rows) {
    const before = { ...device.stats }
    row.first = await once(row)
    row.flops = device.stats.flops - before.flops
    row.dispatches = device.stats.dispatches - before.dispatches
    row.submits = device.stats.submits - before.submits
    row.bytes = device.stats.bytes - before.bytes
  }
  for (let round = 0; round < rounds; round++) for (const row of rows) row.times.push(await once(row))
  const heads = ['ms', 'first ms', 'GFLOP', 'GFLOP/s', 'MB', 'GB/s', 'dispatches', 'submits']
  console.log(`${title.padEnd(46)}${heads.map((h) => h.padStart(11)).join('')}`)
  for (const row of rows) {
    const ms = median(row.times)
    const figures = [
      ms.toFixed(2),
      row.first.toFixed(0),
      row.flops ? (row.flops / 1e9).toFixed(3) : '',
      row.flops ? (row.flops / ms / 1e6).toFixed(1) : '',
      (row.bytes / 1e6).toFixed(1),
      (row.bytes / ms / 1e6).toFixed(2),
      row.dispatches,
      row.submits,
    ]
    console.log(`  ${row.name.padEnd(44)}${figures.map((f) => String(f).padStart(11)).join('')}`)
  }
  console.log(`  memory alive at most so far: ${(device.stats.peakBytes / 2 ** 20).toFixed(1)} MiB\n`)
  for (const t of free) t.dispose()
}

async function convolution(
  title: string,
  shapes: readonly (readonly [n: number, cin: number, cout: number, size: number, kernel: number])[],
): Promise<void> {
  for (const [n, cin, cout, size, kernel] of shapes) {
    const padding = (kernel - 1) / 2
    const x = tensor(n, cin, size, size)
    const weight = tensor(cout, cin, kernel, kernel)
    const dy = tensor(n, cout, size, size)
    await measure(
      `${title}: ${kernel}x${kernel} ${cin}->${cout}, ${size}x${size}, batch ${n}`,
      [
        ['forward', () => conv2d(x, weight, { padding })],
        ['data gradient', () => applyOne(conv2dDataGrad, { stride: 1, padding, shape: x.shape }, [dy, weight])],
        ['weight gradient', () => applyOne(conv2dWeightGrad, { stride: 1, padding, shape: weight.shape }, [x, dy])],
      ],
      [x, weight, dy],
    )
  }
}

async function normalization(title: string, n: number, c: number, size: number): Promise<void> {
  const [x, weight, bias, scaleShift] = [tensor(n, c, size, size), tensor(c), tensor(c), tensor(n, 2 * c)]
  const run = (): Tensor => groupNorm(x, { groups: 32, weight, bias, scaleShift, silu: true })
  await measure(
    `${title}: group norm + SiLU, ${c} channels, ${size}x${size}, batch ${n}`,
    [
      ['forward', run],
      ['forward and input gradient', () => grad(run, [x])],
    ],
    [x, weight, bias, scaleShift],
  )
}

async function attend(title: string, n: number, heads: number, d: number, t: number): Promise<void> {
  const qkv = tensor(n, 3 * heads * d, t)
  const run = (): Tensor => attention(qkv, { heads, newOrder: true })
  await measure(
    `${title}: attention, ${heads} heads of ${d}, ${t} tokens, batch ${n}`,
    [
      ['forward', run],
      ['forward and gradient', () => grad(run, [qkv])],
    ],
    [qkv],
  )
}

async function network(title: string, model: UNet, batch: number): Promise<void> {
  const { imageSize } = model.config
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '50' })
  const noise = new GeneratedNoise(device, {
    seed: 0,
    samples: Array.from({ length: batch }, (_, k) => k),
    shape: [3, imageSize, imageSize],
  })
  const x = noise.initial()
  const denoiser = (images: Tensor, t: readonly number[]): Tensor => model.forward(images, t)
  const step = (options: object): Tensor =>
    device.scope(() => oneStep(diffusion, denoiser, x, 25, { noise, ...options }).next)
  await measure(
    `${title}, batch ${batch}`,
    [
      ['forward', () => model.forward(x, new Array<number>(batch).fill(500))],
      ['plain step', () => step({})],
      ['self-guided step (L2)', () => step({ selfGuidance: selfGuidance({ weight: 0.4 }) })],
    ],
    [x],
  )
  noise.dispose()
}

await convolution('small U-Net', [
  [8, 32, 32, 32, 3],
  [8, 64, 64, 16, 3],
  [8, 64, 64, 8, 3],
  [8, 128, 64, 8, 1],
])
await convolution('the ratio shape', [[8, 64, 64, 32, 3]])
await convolution(
  'ADM-64',
  large
    ? [
        [1, 192, 192, 64, 3],
        [1, 384, 384, 32, 3],
        [1, 576, 576, 16, 3],
        [1, 768, 768, 8, 3],
      ]
    : [[1, 384, 384, 32, 3]],
)
await normalization('small U-Net', 8, 32, 32)
await normalization('ADM-64', 1, 192, 64)
await attend('small U-Net', 8, 2, 32, 64)
await attend('ADM-64', 1, 6, 64, 1024)

const small = await loadUNet(device, smallUNet())
await network('small U-Net', small, 8)
small.dispose()

if (large && adm64.kind === 'unet') {
  // Values do not matter for time; they are small, so that nothing overflows.
  const parameters: Parameters = new Map(
    [...stateDictOf(planOf(adm64))].map(([key, shape]) => [
      key,
      device.tensor(
        random(shape.reduce((a, b) => a * b, 1)).map((v) => v * 0.02),
        shape,
      ),
    ]),
  )
  const model = new UNet(adm64, parameters)
  await network('ADM-64 (CelebA-64)', model, 1)
  model.dispose()
}
device.dispose()
