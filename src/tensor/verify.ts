/**
 * Whether a device computes what it should: every kernel three times over, the second time with other inputs, against
 * the CPU backend. Twice, because a driver can be right the first time only: on Adreno 8xx a stream of commands that
 * is run again reads what its last run left in a cache (google-ai-edge/LiteRT issue 8065, June 2026; there of textures,
 * which nothing here uses). And three times, because the same inputs must give the same bits.
 */
import { refuseUnknown } from '../refuse.ts'
import { version } from '../version.ts'
import type { Fault, Verdict } from './backend.ts'
import { Device } from './device.ts'
import { grad } from './grad.ts'
import { updateAdamW } from './ops/adamw.ts'
import { add, exp, mul, silu } from './ops/arithmetic.ts'
import { attention } from './ops/attention.ts'
import { conv2d } from './ops/conv2d.ts'
import { concat, permute, slice } from './ops/copy.ts'
import { embedding } from './ops/gather.ts'
import { groupNorm } from './ops/group-norm.ts'
import { cast } from './ops/map.ts'
import { matmul } from './ops/matmul.ts'
import { avgPool2d, maxPool2d } from './ops/pool.ts'
import { randomBits, randomNormal } from './ops/random.ts'
import { purposes } from './purposes.ts'
import { max, mean, sum } from './ops/reduce.ts'
import { resizeBilinear, upsampleNearest } from './ops/resize.ts'
import { softmax } from './ops/softmax.ts'
import { hostRandomUniform } from './philox.ts'
import { sizeOf, type Shape } from './shape.ts'
import type { Tensor } from './tensor.ts'
import type { WebGPUBackend } from './webgpu/backend.ts'
import { recall, remember } from './remembered.ts'

/** How {@link verifyDevice} is watched and stopped. */
export interface VerifyOptions {
  /** Whether to run also where this version of the library has verified this adapter before. Default false. */
  readonly again?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
}

interface Case {
  readonly name: string
  readonly inputs: readonly Shape[]
  readonly op: (...inputs: Tensor[]) => Tensor
  /** Default true: also the gradients by every input. */
  readonly differentiate?: boolean
}

const stream = { seed: [7, 11], draw: 1, purpose: purposes.trial } as const
const samples = (device: Device): Tensor<'u32'> => device.tensor([0, 3], [2], 'u32')

/** Odd sizes, several workgroups where a kernel shares work, and every op of the table. */
const cases: readonly Case[] = [
  { name: 'map', inputs: [[3, 37], [37]], op: (x, y) => silu(add(mul(x, y), exp(x))) },
  {
    name: 'matmul',
    inputs: [
      [37, 35],
      [35, 33],
    ],
    op: (a, b) => matmul(a, b),
  },
  { name: 'conv2d 1x1', inputs: [[2, 37, 5, 7], [35, 37, 1, 1], [35]], op: (x, w, bias) => conv2d(x, w, { bias }) },
  {
    name: 'conv2d 3x3',
    inputs: [[1, 37, 9, 11], [33, 37, 3, 3], [33], [1, 33, 9, 11]],
    op: (x, w, bias, residual) => conv2d(x, w, { bias, residual, padding: 1 }),
  },
  {
    name: 'conv2d 3x3, stride 2',
    inputs: [
      [2, 5, 9, 8],
      [17, 5, 3, 3],
    ],
    op: (x, w) => conv2d(x, w, { stride: 2, padding: 1 }),
  },
  { name: 'attention', inputs: [[2, 48, 37]], op: (qkv) => attention(qkv, { heads: 2, newOrder: true }) },
  {
    name: 'groupNorm',
    inputs: [[2, 6, 5, 7], [6], [6], [2, 12]],
    op: (x, weight, bias, scaleShift) => groupNorm(x, { groups: 3, weight, bias, scaleShift, silu: true }),
  },
  {
    name: 'groupNorm of large groups',
    inputs: [[1, 2, 160, 163], [2], [2]],
    op: (x, weight, bias) => groupNorm(x, { groups: 1, weight, bias }),
    differentiate: false,
  },
  { name: 'softmax', inputs: [[5, 131]], op: softmax },
  { name: 'sum', inputs: [[3, 301]], op: (x) => sum(x, { axes: [1] }) },
  { name: 'mean and max', inputs: [[301, 3]], op: (x) => add(mean(x, { axes: [0] }), max(x, { axes: [0] })) },
  {
    name: 'copies',
    inputs: [
      [3, 5, 7],
      [3, 4, 7],
    ],
    op: (a, b) => permute(slice(concat([a, b], 1), 2, 1, 6), [2, 0, 1]),
  },
  {
    name: 'gather',
    inputs: [[9, 13]],
    op: (table) => embedding(table, table.device.tensor([8, 0, 3, 3], [4], 'i32')),
  },
  { name: 'avgPool2d', inputs: [[2, 3, 9, 7]], op: (x) => avgPool2d(x, { kernel: 3, stride: 2, padding: 1 }) },
  { name: 'maxPool2d', inputs: [[2, 3, 9, 7]], op: (x) => maxPool2d(x, { kernel: 3, stride: 2, padding: 1 }) },
  { name: 'upsampleNearest', inputs: [[2, 3, 5, 4]], op: (x) => upsampleNearest(x, 2) },
  { name: 'resizeBilinear', inputs: [[2, 3, 5, 4]], op: (x) => resizeBilinear(x, [9, 11]) },
  {
    name: 'adamW',
    inputs: [[301], [301], [301], [301], [301]],
    differentiate: false,
    op: (gradient, w, m, v, average) => {
      // It overwrites what it is given, the second moment being no less than 0.
      const state = { w: mul(w, 1), m: mul(m, 1), v: mul(v, v), averages: [mul(average, 1)] }
      const params = { decay: 0.99, rate: 0.1, correction: 1.5, eps: 1e-8, betas: [0.9, 0.999], keep: [0.9] } as const
      updateAdamW(gradient, state, params)
      return concat([state.w, state.m, state.v, ...state.averages], 0)
    },
  },
  {
    name: 'random',
    inputs: [[2, 1, 1]],
    op: (x) => {
      const normal = randomNormal(samples(x.device), { ...stream, shape: [5, 7] })
      // 32 bits do not fit a float; of the upper half a float holds every one.
      const bits = cast(randomBits(samples(x.device), { ...stream, shape: [5, 7] }), 'f32')
      return add(add(normal, mul(bits, 2 ** -32)), x)
    },
  },
]

/** Sums of some hundred products, and the functions of GPUs, which WGSL lets err by several roundings. */
const tolerance = 1e-4

/**
 * Runs every kernel on `device` and compares with the CPU backend, tiny shapes in about a second on a GPU: for a device
 * that nobody has seen yet, before hours are spent on it. A device that is the CPU's is compared with a thread of it.
 *
 * ```ts
 * const { faults } = await verifyDevice(device)
 * if (faults.length > 0) console.error(faults)   // a driver's fault, or ours: please report it
 * ```
 *
 * @throws TweedieError 'cpu-unavailable' in a program without the CPU backend; whatever a device that is lost throws
 */
export async function verifyDevice(device: Device, options: VerifyOptions = {}): Promise<Verdict> {
  refuseUnknown('verifyDevice', options, { again: true, signal: true, onProgress: true })
  const { again = false, signal, onProgress } = options
  signal?.throwIfAborted()
  const identity = device.backend.kind === 'webgpu' ? (device.backend as WebGPUBackend).identity : ''
  const before = identity === '' || again ? undefined : (await recall(identity)).verdict
  if (before?.version === version) return { kernels: before.kernels, faults: before.faults }
  using reference = await Device.request({ backend: 'cpu', threads: 0, signal })
  const faults: Fault[] = []
  let kernels = 0
  for (const [done, one] of cases.entries()) {
    onProgress?.(done, cases.length)
    const inputs = [1, 2].map((seed) => one.inputs.map((shape, i) => numbers(shape, 10 * seed + i)))
    const expected = [await compute(reference, one, [inputs[0]]), await compute(reference, one, [inputs[1]])].flat()
    for (const variant of await variantsOf(device, one, inputs[0])) {
      signal?.throwIfAborted()
      kernels++
      const found = await variant.run(() => compute(device, one, [inputs[0], inputs[1], inputs[0]]))
      for (const [i, results] of found.entries()) {
        const error = difference(results, i === 2 ? found[0] : expected[i])
        if (!(error <= (i === 2 ? 0 : tolerance)))
          faults.push({ kernel: `${one.name}${variant.name}`, run: (i + 1) as Fault['run'], error })
      }
    }
  }
  onProgress?.(cases.length, cases.length)
  if (identity !== '') await remember(identity, { verdict: { kernels, faults, version } })
  return { kernels, faults }
}

/** Values and gradients, for each of these inputs, which take the same memory in turn. Nothing waits in between. */
async function compute(
  device: Device,
  { op, inputs: shapes, differentiate = true }: Case,
  inputs: readonly (readonly Float32Array[])[],
): Promise<Float32Array[][]> {
  const tensors = shapes.map((shape, i) => device.tensor(inputs[0][i], shape))
  const made = inputs.map((values) => {
    for (const [i, tensor] of tensors.entries()) tensor.write(values[i])
    return device.scope(() => {
      const y = op(...tensors)
      return differentiate ? [y, ...grad(() => op(...tensors), tensors, y).gradients] : [y]
    })
  })
  try {
    const results: Float32Array[][] = []
    for (const outputs of made) results.push(await Promise.all(outputs.map((tensor) => tensor.read())))
    return results
  } finally {
    for (const tensor of [...tensors, ...made.flat()]) tensor.dispose()
  }
}

interface Variant {
  readonly name: string
  readonly run: <T>(f: () => Promise<T>) => Promise<T>
}

/** How `one` can be computed: as usual and, where kernels are chosen between, by each of them for all it can do. */
async function variantsOf(device: Device, one: Case, inputs: readonly Float32Array[]): Promise<Variant[]> {
  const usual: Variant = { name: '', run: (f) => f() }
  if (device.backend.kind !== 'webgpu') return [usual]
  const backend = device.backend as WebGPUBackend
  const open = new Map<string, readonly string[]>()
  const { onChoice } = backend
  backend.onChoice = ({ key, candidates }) => void open.set(key, candidates)
  try {
    await compute(device, one, [inputs])
  } finally {
    backend.onChoice = onChoice
  }
  const forced = (name: string): Variant => ({
    name: ` (${name})`,
    run: async (f) => {
      const before = [...backend.choices]
      for (const [key, candidates] of open) if (candidates.includes(name)) backend.choices.set(key, name)
      try {
        return await f()
      } finally {
        backend.choices.clear()
        for (const [key, kernel] of before) backend.choices.set(key, kernel)
      }
    },
  })
  return [usual, ...[...new Set([...open.values()].flat())].map(forced)]
}

/** Numbers in [-1, 1) that repeat. */
function numbers(shape: Shape, draw: number): Float32Array {
  const stream = { seed: [1, 2], draw, purpose: purposes.trial } as const
  return Float32Array.from(hostRandomUniform(stream, [0], sizeOf(shape)), (x) => 2 * x - 1)
}

/** The largest difference of any output, in parts of the output's largest value; infinite for what is no number. */
function difference(found: readonly Float32Array[], expected: readonly Float32Array[]): number {
  let worst = 0
  for (const [k, values] of found.entries()) {
    const scale = expected[k].reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    for (const [i, value] of values.entries()) {
      const error = Math.abs(value - expected[k][i])
      worst = Number.isFinite(error) ? Math.max(worst, error === 0 ? 0 : error / scale) : Infinity
      if (worst === Infinity) return worst
    }
  }
  return worst
}
