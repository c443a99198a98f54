/**
 * The kernels one by one, at a shape: checked against sums in double precision, then timed, every variant that the
 * backend has for it beside the others.
 */
import { messageOf } from '../errors.ts'
import { attention, conv2d, groupNorm, matmul, type Device, type Tensor } from '../tensor/index.ts'
import { applyOne } from '../tensor/op.ts'
import { conv2dDataGrad, conv2dWeightGrad } from '../tensor/ops/conv2d.ts'
import type { Choice } from '../tensor/webgpu/launch.ts'
import { hash } from './formula.ts'
import {
  attended,
  convolved,
  dataGradient,
  errorAt,
  normalised,
  places,
  product,
  weightGradient,
  type Exact,
} from './reference.ts'
import type { ConvolutionShape, ShapeGroup } from './shapes.ts'
import { timeRuns, type Stopwatch, type Timing, type TimingOptions } from './timing.ts'

/** A kernel at a shape, on the host: what it is given, what it must give, and how it is asked for. */
export interface KernelCase {
  readonly op: string
  readonly shape: string
  readonly inputs: readonly { readonly shape: readonly number[]; readonly data: Float32Array<ArrayBuffer> }[]
  readonly run: (inputs: readonly Tensor[]) => Tensor
  readonly exact: (index: number) => Exact
  /** The largest error that rounding explains, relative to the sum of the terms' absolute values. */
  readonly tolerance: number
}

/** A kernel in one variant, measured. */
export interface KernelRow extends Timing {
  readonly kind: 'kernel'
  readonly group: string
  readonly op: string
  readonly shape: string
  /** Its name among the variants; `only` where there is no choice. */
  readonly variant: string
  /** The key under which `Device.kernels` keeps the choice; null where there is none. */
  readonly choice: string | null
  /** It is what runs where nothing was measured. */
  readonly isDefault: boolean
  /** The fastest of the variants here. */
  readonly isBest: boolean
  readonly flops: number
  /** Of inputs and outputs, touched once. */
  readonly bytes: number
  readonly dispatches: number
  /** The largest error found, and whether rounding explains it. */
  readonly error: number
  readonly right: boolean
}

/** A variant that did not run. */
export interface FailedRow extends Pick<KernelRow, 'group' | 'op' | 'shape' | 'variant'> {
  readonly kind: 'failed'
  readonly message: string
}

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
const input = (shape: readonly number[], j: number): KernelCase['inputs'][number] => ({
  shape,
  data: hash(size(shape), j, 7, 1),
})

function convolutions(s: ConvolutionShape): KernelCase[] {
  const { n, cin, cout, h, w, k } = s
  const padding = (k - 1) / 2
  const [x, weight, dy] = [input([n, cin, h, w], 0), input([cout, cin, k, k], 1), input([n, cout, h, w], 2)]
  const common = { shape: `${n} x ${cin}>${cout}, ${h}x${w}`, tolerance: 4e-6 }
  const grad = { stride: 1, padding }
  return [
    {
      ...common,
      op: `conv2d ${k}x${k}`,
      inputs: [x, weight],
      run: ([a, b]) => conv2d(a, b, { padding }),
      exact: convolved(s, x.data, weight.data),
    },
    {
      ...common,
      op: `data gradient ${k}x${k}`,
      inputs: [dy, weight],
      run: ([a, b]) => applyOne(conv2dDataGrad, { ...grad, shape: x.shape }, [a, b]),
      exact: dataGradient(s, dy.data, weight.data),
    },
    {
      ...common,
      op: `weight gradient ${k}x${k}`,
      inputs: [x, dy],
      run: ([a, b]) => applyOne(conv2dWeightGrad, { ...grad, shape: weight.shape }, [a, b]),
      exact: weightGradient(s, x.data, dy.data),
    },
  ]
}

/** What a group of shapes asks of the kernels. Inputs are made when the case is. */
export function* casesOf({ convolutions: all, products, attentions, norms }: ShapeGroup): Generator<KernelCase> {
  for (const s of all) yield* convolutions(s)
  for (const { m, n, k } of products) {
    const [a, b] = [input([m, k], 0), input([k, n], 1)]
    yield {
      op: 'matmul',
      shape: `${m} x ${k} times ${k} x ${n}`,
      inputs: [a, b],
      run: ([x, y]) => matmul(x, y),
      exact: product({ n, k }, a.data, b.data),
      tolerance: 4e-6,
    }
  }
  for (const { n, heads, d, t } of attentions) {
    const qkv = input([n, 3 * heads * d, t], 0)
    yield {
      op: 'attention',
      shape: `${n} x ${heads} heads of ${d}, ${t} tokens`,
      inputs: [qkv],
      run: ([x]) => attention(x, { heads, newOrder: true }),
      exact: attended({ heads, d, t }, qkv.data),
      tolerance: 2e-5,
    }
  }
  for (const { n, c, h, w } of norms) {
    const x = input([n, c, h, w], 0)
    const [weight, bias] = [1, 0].map((value) => ({ shape: [c], data: new Float32Array(c).fill(value) }))
    yield {
      op: 'group norm, SiLU',
      shape: `${n} x ${c}, ${h}x${w}`,
      inputs: [x, weight, bias],
      run: ([a, b, e]) => groupNorm(a, { groups: 32, weight: b, bias: e, silu: true }),
      exact: normalised({ c, area: h * w, groups: 32 }, x.data),
      tolerance: 1e-5,
    }
  }
}

/** Where a backend has variants, it tells of each choice that an op comes upon. */
type Choosing = { onChoice: ((choice: Choice & { readonly fallback?: string }) => void) | null }

/** The choice that `run` comes upon, if it has one. */
function choiceOf(device: Device, run: () => void): (Choice & { readonly fallback?: string }) | null {
  const backend = device.backend as Partial<Choosing>
  let found: Choice | null = null
  if (backend.onChoice !== undefined) backend.onChoice = (choice) => void (found ??= choice)
  try {
    run()
  } finally {
    if (backend.onChoice !== undefined) backend.onChoice = null
  }
  return found
}

/** {@link benchKernel}'s options. */
export interface KernelBenchOptions extends TimingOptions {
  /**
   * Inputs take turns that together are larger than any cache, as weights come from memory in a network. Default: one
   * set of inputs, which stays in the cache where it fits.
   */
  readonly cold?: boolean
  /** A kernel of the user's for the same inputs, beside ours. */
  readonly own?: { readonly name: string; readonly run: (inputs: readonly Tensor[]) => Tensor }
}

/** More than the L2 of any GPU. */
const coldBytes = 2 ** 27

/** Every variant of the kernel at this shape, checked and timed. */
export async function benchKernel(
  device: Device,
  group: string,
  { op, shape, inputs, run, exact, tolerance }: KernelCase,
  stopwatch: Stopwatch,
  { cold = false, own, ...options }: KernelBenchOptions = {},
): Promise<(KernelRow | FailedRow)[]> {
  const bytesOfSet = inputs.reduce((sum, { data }) => sum + data.byteLength, 0)
  const count = cold ? Math.max(1, Math.min(16, Math.ceil(coldBytes / bytesOfSet))) : 1
  const sets = Array.from({ length: count }, () => inputs.map((one) => device.tensor(one.data, one.shape)))
  let turn = 0
  const rows: (KernelRow | FailedRow)[] = []
  const { kernels } = device
  let choice: ReturnType<typeof choiceOf> = null
  let before: string | undefined
  try {
    choice = choiceOf(device, () => device.scope(() => void run(sets[0])))
    before = choice ? kernels.get(choice.key) : undefined
    const { key, candidates, fallback } = choice ?? { key: null, candidates: ['only'] }
    const variants = candidates.map((name) => ({ name: candidates.length > 1 ? name : 'only', ours: name, run }))
    const timed: { readonly run: () => void; readonly row: Omit<KernelRow, keyof Timing> }[] = []
    for (const { name, ours, run: compute } of [...variants, ...(own ? [{ ...own, ours: null }] : [])]) {
      options.signal?.throwIfAborted()
      const chosen = (): void => void (key !== null && ours !== null && kernels.set(key, ours))
      chosen()
      const row = { group, op, shape, variant: name }
      try {
        const { flops, bytes, dispatches } = device.stats
        const out = device.scope(() => compute(sets[0]))
        const counted = {
          flops: device.stats.flops - flops,
          bytes: device.stats.bytes - bytes || bytesOfSet + out.size * 4,
          dispatches: device.stats.dispatches - dispatches,
        }
        const output = await out.read()
        out.dispose()
        const error = errorAt(output, places(output.length), exact)
        const isDefault = ours !== null && ours === (fallback ?? candidates[0])
        // The user's kernel does the same work, of which nobody counted.
        if (ours === null) Object.assign(counted, { flops: timed[0]?.row.flops ?? 0, bytes: bytesOfSet + out.size * 4 })
        timed.push({
          run: () => {
            chosen()
            device.scope(() => void compute(sets[turn++ % count]))
          },
          row: {
            ...row,
            kind: 'kernel',
            choice: ours === null || candidates.length < 2 ? null : key,
            isDefault,
            isBest: false,
            error,
            right: error <= tolerance,
            ...counted,
          },
        })
      } catch (error) {
        options.signal?.throwIfAborted()
        rows.push({ ...row, kind: 'failed', message: messageOf(error) })
      }
    }
    const times = await timeRuns(
      timed.map((one) => one.run),
      stopwatch,
      options,
    )
    const best = Math.min(...times.map(({ ms }) => ms))
    timed.forEach(({ row }, i) => rows.push({ ...row, ...times[i], isBest: times[i].ms === best }))
    return rows
  } finally {
    if (choice && before === undefined) kernels.delete(choice.key)
    else if (choice) kernels.set(choice.key, before as string)
    for (const t of sets.flat()) t.dispose()
  }
}
