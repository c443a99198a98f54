/** The stages of measure.ts, in the order of what one wants to know if the time does not suffice for all. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import {
  benchKernel,
  benchNetwork,
  workOf,
  casesOf,
  formulaInput,
  formulaNetwork,
  measurePeaks,
  needOf,
  networkConfigs,
  newReport,
  passes,
  shapeGroups,
  stopwatchOf,
  timestep,
  tinyShapes,
  type KernelCase,
  type NetworkConfig,
  type Pass,
  type ShapeGroup,
  type TimingOptions,
} from '../../src/bench/index.ts'
import { requestGPU } from '#platform'
import { messageOf } from '../../src/errors.ts'
import { configMetadata, planOf, stateDictOf, type UNet } from '../../src/nn/index.ts'
import { Device, listAdapters, verifyDevice, type DeviceNeed } from '../../src/tensor.ts'
import { timeDispatches } from './dispatches.ts'
import type { Profile } from './markdown.ts'

/** What a stage is told. */
export interface Plan {
  /** A rehearsal: three shapes, batch 1, no large network. */
  readonly tiny: boolean
  /** It is stopped after so long. */
  readonly seconds: number
  /** For what stages leave each other. */
  readonly folder: string
  /** The Python with torch. */
  readonly torch: string
  /** The networks and batches that are measured; null: all. */
  readonly networks: readonly string[] | null
  readonly batches: readonly number[] | null
  /** The ops that the stage `kernels` measures. */
  readonly ops: RegExp
}

/** Says what was found, at once: the process may be stopped at any time. */
export type Emit = (row: Record<string, unknown>) => void

interface Stage {
  /** Seconds, of 450. */
  readonly share: number
  run(plan: Plan, emit: Emit): Promise<void>
}

type Run = readonly [name: string, config: NetworkConfig, batches: readonly number[]]

/** The networks that are measured, small ones first. */
function runs({ tiny, networks, batches }: Plan): readonly Run[] {
  if (tiny)
    return [['tiny', { ...networkConfigs.toy, imageSize: 8, channelMult: [1, 1], attentionResolutions: [2] }, [1]]]
  const all: readonly Run[] = [
    ['toy', networkConfigs.toy, [1, 8, 32]],
    ['adm-64', networkConfigs['adm-64'], [1, 4, 16]],
  ]
  return all
    .filter(([name]) => !networks || networks.includes(name))
    .map(([name, config, usual]) => [name, config, usual.filter((batch) => !batches || batches.includes(batch))])
}

/** In a rehearsal the first alone. */
const passesOf = ({ tiny }: Plan): readonly Pass[] => (tiny ? passes.slice(0, 1) : passes)

/** How long a pass of a network is measured. */
const timingOf = ({ tiny }: Plan): TimingOptions =>
  tiny ? { samples: 3, sampleMs: 0, budgetMs: 1 } : { samples: 9, budgetMs: 1200 }

/** Each network in turn, the large one first, on a device of its own; of its batches the smallest and the largest. */
async function* loaded(plan: Plan): AsyncGenerator<{
  readonly name: string
  readonly device: Device
  readonly model: UNet
  readonly ends: readonly number[]
}> {
  for (const [name, config, batches] of [...runs(plan)].reverse()) {
    const [least, largest] = [Math.min(...batches), Math.max(...batches)]
    using device = await deviceFor(needOf(config, largest, 'training'))
    using model = await formulaNetwork(device, config)
    yield { name, device, model, ends: [...new Set([least, largest])] }
  }
}

/** A device that holds what is needed, or the most that there is. */
const deviceFor = (need: DeviceNeed): Promise<Device> =>
  Device.request({ backend: 'webgpu', need }).catch(() => Device.request({ backend: 'webgpu' }))

const groupsOf = ({ tiny }: Plan, batch: number): readonly (readonly [string, ShapeGroup])[] =>
  tiny
    ? [['odd', { ...tinyShapes, convolutions: tinyShapes.convolutions.slice(0, 1) }]]
    : Object.entries(shapeGroups(batch)).filter(([name]) => name.startsWith('adm') || name.startsWith('toy'))

/** In a rehearsal without the gradients, whose variants take a software driver a while to compile. */
const casesFor = ({ tiny, ops }: Plan, group: ShapeGroup): KernelCase[] =>
  [...casesOf(group)].filter(({ op }) => ops.test(op) && (!tiny || !op.includes('gradient')))

/** The properties of an object of Dawn's, which are getters. */
const described = (object: object): Record<string, unknown> => {
  const found: Record<string, unknown> = {}
  for (const key in object) found[key] = (object as Record<string, unknown>)[key]
  return found
}

async function smoke(_: Plan, emit: Emit): Promise<void> {
  const asked = spawnSync('nvidia-smi', ['-q'], { encoding: 'utf8', timeout: 10_000 })
  if (asked.status === 0) console.log(asked.stdout)
  // What the adapters say comes first: a device may crash.
  for (const adapter of await listAdapters()) emit({ kind: 'adapter', ...adapter })
  using device = await Device.request({ backend: 'webgpu' })
  emit({ ...newReport(device, `Node ${process.version.slice(1)}`), kind: 'report' })
  // What Dawn has beyond what a device is requested with, by the toggles of DAWN_OPTIONS too.
  const adapter = await (await requestGPU()).requestAdapter()
  const info = adapter?.info as
    | (GPUAdapterInfo & {
        subgroupMinSize?: number
        subgroupMaxSize?: number
        subgroupMatrixConfigs?: Iterable<object>
      })
    | undefined
  emit({
    kind: 'info',
    vendor: info?.vendor,
    architecture: info?.architecture,
    device: info?.device,
    description: info?.description,
    subgroups: [info?.subgroupMinSize ?? null, info?.subgroupMaxSize ?? null],
    features: [...(adapter?.features ?? [])],
    subgroupMatrix: info?.subgroupMatrixConfigs ? [...info.subgroupMatrixConfigs].map(described) : null,
  })
  using x = device.tensor([1, 2, 3])
  emit({ kind: 'ran', values: [...(await x.read())] })
  if (device.adapter.software) return
  const { kernels, faults } = await verifyDevice(device, { again: true })
  emit({ kind: 'verified', kernels, faults })
}

/** Every kernel in every variant at odd shapes. */
async function correctness(plan: Plan, emit: Emit): Promise<void> {
  using device = await Device.request({ backend: 'webgpu' })
  const stopwatch = await stopwatchOf(device)
  for (const test of casesFor(plan, plan.tiny ? groupsOf(plan, 1)[0][1] : tinyShapes)) {
    const rows = await benchKernel(device, 'odd', test, stopwatch, { samples: 3, sampleMs: 0, budgetMs: 20 })
    for (const row of rows) {
      if (row.kind === 'failed') emit({ ...row })
      else
        emit({
          kind: 'checked',
          op: row.op,
          shape: row.shape,
          variant: row.variant,
          error: row.error,
          right: row.right,
        })
    }
  }
}

/** Of the bundled tests: the goldens of bundle.sh, then ops and every kernel by name, with a file on each core. */
const testRuns: readonly (readonly string[])[] = [
  ['goldens', '-t', 'adm16'],
  ['full-size', '-t', 'ADM-64: output'],
  ['ops-', 'kernels'],
]

async function tests(_: Plan, emit: Emit): Promise<void> {
  const program = join(dirname(process.argv[1]), 'tests.mjs')
  if (!existsSync(program)) return emit({ kind: 'tests', ran: false })
  const env = { ...process.env, TWEEDIE_BACKEND: 'webgpu', TWEEDIE_LONG: '1' }
  for (const words of testRuns) {
    const started = performance.now()
    const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 'pipe', 'inherit'], env })
    for await (const line of createInterface({ input: child.stdout })) {
      console.log(line)
      if (/^[✓✗] |files? (passed|failed)/.test(line)) emit({ kind: 'tests', line })
    }
    emit({ kind: 'tests', words: words.join(' '), seconds: (performance.now() - started) / 1e3 })
  }
}

async function peaks(plan: Plan, emit: Emit): Promise<void> {
  using device = await deviceFor({ bytes: 2 ** 30, largestBuffer: 2 ** 28 })
  const small = plan.tiny || device.adapter.software
  const options = small ? { bytes: 2 ** 22, workgroups: 64, samples: 3, budgetMs: 100 } : { budgetMs: 1500 }
  emit({ kind: 'peaks', ...(await measurePeaks(device, await stopwatchOf(device), options)) })
}

/** Every variant at every shape of the networks, with all their times: the tuner's sweep, and the table of kernels. */
async function kernels(plan: Plan, emit: Emit): Promise<void> {
  using device = await deviceFor({ bytes: 2 ** 31, largestBuffer: 2 ** 29 })
  const stopwatch = await stopwatchOf(device)
  for (const batch of plan.tiny ? [1] : [1, 16])
    for (const [name, group] of groupsOf(plan, batch))
      for (const one of casesFor(plan, group)) {
        const options = plan.tiny ? { samples: 3, sampleMs: 0, budgetMs: 20 } : { budgetMs: 30, samples: 7 }
        for (const row of await benchKernel(device, name, one, stopwatch, { cold: !plan.tiny, ...options }))
          emit({ ...row })
      }
}

/** The files by which torch_unet.py computes the same and looks at our result. */
const torchFiles = ({ folder }: Plan, name: string, batch: number): { model: string; output: string } => ({
  model: join(folder, `${name}.json`),
  output: join(folder, `${name}-${batch}.f32`),
})

async function networks(plan: Plan, emit: Emit): Promise<void> {
  for (const [name, config, batches] of runs(plan)) {
    const largest = Math.max(...batches)
    using device = await deviceFor(needOf(config, largest, 'training'))
    const model = await formulaNetwork(device, config)
    const state = [...stateDictOf(planOf(config))].map(([key, shape]) => ({ key, shape }))
    writeFileSync(
      torchFiles(plan, name, 0).model,
      JSON.stringify({ config: configMetadata(config).config, state, timestep }),
    )
    for (const batch of batches) {
      using x = formulaInput(device, config, batch)
      using y = model.forward(x, new Array<number>(batch).fill(timestep))
      writeFileSync(torchFiles(plan, name, batch).output, new Uint8Array((await y.read()).buffer))
      for (const pass of passesOf(plan)) {
        try {
          for (const row of await benchNetwork(device, name, model, pass, batch, timingOf(plan))) emit({ ...row })
        } catch (error) {
          emit({
            kind: 'failed',
            group: name,
            op: pass,
            shape: `batch ${batch}`,
            variant: 'only',
            message: messageOf(error),
          })
        }
      }
    }
    model.dispose()
  }
}

/** Where the time of a pass goes: the dispatches of each op at each shape, the longest first. */
async function profile(plan: Plan, emit: Emit): Promise<void> {
  for await (const { name, device, model, ends } of loaded(plan))
    for (const batch of ends)
      for (const pass of passesOf(plan)) {
        using work = workOf(device, model, pass, batch)
        const timed = await timeDispatches(device, () => work.run().dispose())
        const byKind = new Map<string, Profile['kinds'][number]>()
        for (const { op, inputs, outputs, kernel, grid: workgroups, flops, ms } of timed) {
          const [from, to] = [inputs, outputs].map((all) => all.map((shape) => shape.join('x')).join(' '))
          const [shapes, grid] = [`${from} > ${to}`, workgroups.join('x')]
          const key = `${op} ${shapes} ${kernel} ${grid}`
          const kind = byKind.get(key) ?? { op, shapes, kernel, grid, count: 0, ms: 0, flops: 0 }
          byKind.set(key, { ...kind, count: kind.count + 1, ms: kind.ms + ms, flops: kind.flops + flops })
        }
        const kinds = [...byKind.values()].sort((a, b) => b.ms - a.ms)
        const ms = kinds.reduce((sum, kind) => sum + kind.ms, 0)
        emit({ kind: 'profile', network: name, pass, batch, ms, kinds })
      }
}

/** What the tuner finds for the networks' shapes, how long it takes, and the passes with its choices. */
async function tuned(plan: Plan, emit: Emit): Promise<void> {
  for await (const { name, device, model, ends } of loaded(plan))
    for (const batch of ends) {
      const started = performance.now()
      let choices = 0
      for (const pass of passesOf(plan)) {
        using work = workOf(device, model, pass, batch)
        await device.tune(() => work.run().dispose(), { onProgress: (_, total) => void (choices = total) })
        const seconds = (performance.now() - started) / 1e3
        emit({ kind: 'tuned', network: name, pass, batch, seconds, choices })
      }
      for (const pass of passesOf(plan))
        for (const row of await benchNetwork(device, `${name}, tuned`, model, pass, batch, timingOf(plan)))
          emit({ ...row })
      const winners = Object.fromEntries(Object.entries(device.winners).map(([key, { variant }]) => [key, variant]))
      emit({ kind: 'winners', network: name, batch, winners })
    }
}

/** Where the program lies: beside this file, or, where that is bundled, in the project from whose root it is run. */
const places = [
  fileURLToPath(new URL('./torch_unet.py', import.meta.url)),
  join(process.cwd(), 'bench/gpu/torch_unet.py'),
  join(process.cwd(), 'gpu/torch_unet.py'),
]

/** The same passes in PyTorch, and how far its result is from ours. */
async function torch(plan: Plan, emit: Emit): Promise<void> {
  const program = places.find((path) => existsSync(path)) ?? places[0]
  // The large network first: with the small one PyTorch's tuning of cudnn takes a minute.
  for (const [name, , batches] of [...runs(plan)].reverse()) {
    const { model } = torchFiles(plan, name, 0)
    if (!existsSync(model)) {
      emit({ kind: 'torch', network: name, note: 'the stage networks left nothing to compare with' })
      continue
    }
    const words = [program, model, plan.folder, [...batches].reverse().join(','), plan.tiny ? 'tiny' : 'full']
    const child = spawn(plan.torch, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise<string | null>((resolve) => {
      child.on('error', (error) => resolve(error.message))
      child.on('close', (code) => resolve(code === 0 ? null : `ended with ${code ?? 'a signal'}`))
    })
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith('{')) console.log(line)
      else emit({ kind: 'torch', network: name, ...(JSON.parse(line) as Record<string, unknown>) })
    }
    const trouble = await ended
    if (trouble !== null) emit({ kind: 'torch', network: name, note: `${plan.torch}: ${trouble}` })
  }
}

export const stages: Readonly<Record<string, Stage>> = {
  smoke: { share: 15, run: smoke },
  correctness: { share: 30, run: correctness },
  tests: { share: 80, run: tests },
  peaks: { share: 15, run: peaks },
  networks: { share: 110, run: networks },
  torch: { share: 75, run: torch },
  profile: { share: 40, run: profile },
  tuned: { share: 55, run: tuned },
  kernels: { share: 135, run: kernels },
}
