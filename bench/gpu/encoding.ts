/**
 * What a dispatch costs the host: processor time of this process, on Dawn's null backend, which runs nothing. Beside
 * it, in the same rounds, what is left without us: a loop over a list of pipelines and bind groups. Eager is the whole
 * JavaScript of a pass; recorded is `Device.record`'s replay of it.
 *
 *     ./run.sh gpu/encoding.ts            about a minute
 *     ./run.sh gpu/encoding.ts toy 31     passes with this in their name, in so many rounds
 *
 * Medians of interleaved rounds; a ratio is the median of the rounds' ratios to their own bare loop.
 */
import { create, globals } from 'webgpu'
import { GaussianDiffusion, GeneratedNoise, oneStep } from '../../src/diffusion/index.ts'
import { planOf, stateDictOf, UNet } from '../../src/nn/index.ts'
import { Device, full, grad } from '../../src/tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { AdamW } from '../../src/train/index.ts'
import type { NetworkConfig } from '../../src/bench/networks.ts'
import { networkOf, networks } from './passes.ts'

Object.assign(globalThis, globals)
const gpu = create(['backend=null'])
// Dawn crashes the process when this object is collected.
Object.assign(globalThis, { keepGpu: gpu })
const words = process.argv.slice(2)
const rounds = Number(words.find((word) => /^\d+$/.test(word)) ?? 15)
const wanted = words.filter((word) => !/^\d+$/.test(word))

/** What the host does for a dispatch at least: sets pipeline and bind group, dispatches, submits; µs. */
function bareLoop(device: GPUDevice): () => Promise<number> {
  const code = `
    @group(0) @binding(0) var<uniform> p: array<vec4u, 4>;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read> w: array<f32>;
    @group(0) @binding(3) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      y[id.x] = x[id.x] * w[id.x] + f32(p[0].x);
    }`
  const dispatches = 1750
  const buffer = (binding: number, type: GPUBufferBindingType): GPUBindGroupLayoutEntry => ({
    binding,
    visibility: GPUShaderStage.COMPUTE,
    buffer: { type, hasDynamicOffset: binding === 0 },
  })
  const group = device.createBindGroupLayout({
    entries: [
      buffer(0, 'uniform'),
      buffer(1, 'read-only-storage'),
      buffer(2, 'read-only-storage'),
      buffer(3, 'storage'),
    ],
  })
  const layout = device.createPipelineLayout({ bindGroupLayouts: [group] })
  const module = device.createShaderModule({ code })
  const pipelines = [0, 1, 2, 3].map(() =>
    device.createComputePipeline({ layout, compute: { module, entryPoint: 'main' } }),
  )
  const made = (size: number, usage: number): GPUBuffer => device.createBuffer({ size, usage })
  const uniforms = made(256 * dispatches, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST)
  const buffers = Array.from({ length: 30 }, () => made(65_536, GPUBufferUsage.STORAGE))
  const groups = Array.from({ length: 400 }, (_, i) =>
    device.createBindGroup({
      layout: group,
      entries: [
        { binding: 0, resource: { buffer: uniforms, size: 256 } },
        ...[0, 10, 20].map((first, k) => ({ binding: k + 1, resource: { buffer: buffers[first + (i % 10)] } })),
      ],
    }),
  )
  return async () => {
    const start = process.cpuUsage()
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    for (let i = 0; i < dispatches; i++) {
      pass.setPipeline(pipelines[i % 4])
      pass.setBindGroup(0, groups[i % 400], [256 * i])
      pass.dispatchWorkgroups(4)
    }
    pass.end()
    device.queue.submit([encoder.finish()])
    const { user, system } = process.cpuUsage(start)
    await device.queue.onSubmittedWorkDone()
    return (user + system) / dispatches
  }
}

/** All weights in one piece of memory: the null device has 512 MiB, ADM-64 needs more, and nobody reads them. */
function thinNetworkOf(device: Device, config: NetworkConfig): UNet {
  const shapes = [...stateDictOf(planOf(config))]
  const largest = Math.max(...shapes.map(([, shape]) => shape.reduce((a, b) => a * b, 1)))
  const memory = device.keep(full(device, [largest], 0)).assertUsable('the weights')
  return new UNet(config, new Map(shapes.map(([name, shape]) => [name, new Tensor(device, memory, shape, 'f32')])))
}

interface Row {
  readonly name: string
  readonly device: Device
  readonly run: () => void
  dispatches: number
  readonly micros: number[]
  readonly ratios: number[]
}

/** A device of its own for each row: what it holds is little. */
async function deviceOf(): Promise<Device> {
  const adapter = (await gpu.requestAdapter())!
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits
  const requiredLimits = { maxBufferSize, maxStorageBufferBindingSize }
  return Device.request({ backend: 'webgpu', gpuDevice: await adapter.requestDevice({ requiredLimits }) })
}

const passes: readonly (readonly [name: string, pass: (device: Device, model: UNet) => () => void])[] = [
  [
    'forward',
    (device, model) => {
      const x = device.keep(full(device, [1, ...shapeOf(model)], 0))
      return () => model.forward(x, [500]).dispose()
    },
  ],
  [
    'guided step',
    (device, model) => {
      const x = device.keep(full(device, [1, ...shapeOf(model)], 0))
      const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '50' })
      const noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape: shapeOf(model) })
      const options = { noise, selfGuidance: { weight: 0.4, every: 1 } }
      return () => device.scope(() => void oneStep(diffusion, model, x, 25, options))
    },
  ],
  [
    'training step',
    (device, model) => {
      const x = device.keep(full(device, [4, ...shapeOf(model)], 0))
      const parameters = [...model.parameters.values()]
      const optimizer = new AdamW(device, model.parameters, { emaRates: [0.999, 0.9999] })
      return () =>
        device.scope(() =>
          optimizer.step(grad(() => model.forward(x, [500, 500, 500, 500]), parameters).gradients, 1e-4),
        )
    },
  ],
]
const shapeOf = ({ config }: UNet): number[] => [config.inChannels, config.imageSize, config.imageSize]

const rows: Row[] = []
for (const [network, config] of Object.entries(networks)) {
  for (const [pass, make] of passes) {
    // The averages of ADM-64 alone would not fit.
    if (network !== 'toy' && pass === 'training step') continue
    for (const how of ['eager', 'recorded']) {
      const name = `${network}, ${pass}, ${how}`
      if (!wanted.every((word) => name.includes(word))) continue
      const device = await deviceOf()
      const eager = make(device, network === 'toy' ? networkOf(device, config) : thinNetworkOf(device, config))
      const program = how === 'recorded' ? device.record(eager) : null
      const run = program ? () => void program.replay(0) : eager
      rows.push({ name, device, run, dispatches: 0, micros: [], ratios: [] })
    }
  }
}
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]

const bare = bareLoop(await (await gpu.requestAdapter())!.requestDevice())
const bares: number[] = []
for (let round = -3; round < rounds; round++) {
  const loop = await bare()
  if (round >= 0) bares.push(loop)
  for (const row of rows) {
    const { device } = row
    await device.flush()
    const before = device.stats.dispatches
    const start = process.cpuUsage()
    row.run()
    // What is left is submitted at once; the wait is not counted, as it is not above.
    const done = device.flush()
    const { user, system } = process.cpuUsage(start)
    await done
    row.dispatches = device.stats.dispatches - before
    // Rounds before 0 compile.
    if (round < 0) continue
    row.micros.push((user + system) / row.dispatches)
    row.ratios.push((user + system) / row.dispatches / loop)
  }
}
console.log(`medians of ${rounds} rounds   dispatches   ms   µs a dispatch   of the bare loop`)
const line = (name: string, dispatches: number, micros: number, ratio: number): void =>
  console.log(
    name.padEnd(36) +
      String(dispatches).padStart(8) +
      ((micros * dispatches) / 1000).toFixed(2).padStart(9) +
      micros.toFixed(2).padStart(8) +
      ratio.toFixed(2).padStart(8),
  )
line('bare loop', 1750, median(bares), 1)
for (const { name, dispatches, micros, ratios } of rows) line(name, dispatches, median(micros), median(ratios))
process.exit(0)
