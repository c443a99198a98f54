/**
 * The kernels one by one, at a shape: checked against sums in double precision, then timed, every variant that the
 * backend has for it beside the others.
 */
import { messageOf } from '../errors.ts'
import type { Device, Program, Tensor } from '../tensor/index.ts'
import type { Choice } from '../tensor/webgpu/launch.ts'
import type { KernelCase } from './cases.ts'
import { errorAt, places } from './reference.ts'
import { timeRuns, type Stopwatch, type Timing, type TimingOptions } from './timing.ts'

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
  /** It is what ran for this choice before anything was measured here: {@link Device.tune} or `--winners` said so. */
  readonly isTuned: boolean
  /** The fastest of the variants here. */
  readonly isBest: boolean
  /** What {@link Device.record} noted is replayed; else the op is called each time. */
  readonly recorded: boolean
  /** What the host takes to enqueue one run, in milliseconds. */
  readonly hostMs: number
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

/** Runs whose enqueueing is timed: one alone is shorter than a browser's clock tells. */
const hostRuns = 16

/** Every variant of the kernel at this shape, checked and timed, and the usual one recorded. */
export async function benchKernel(
  device: Device,
  group: string,
  { op, shape, inputs, output: outputShape, run, exact, tolerance }: KernelCase,
  stopwatch: Stopwatch,
  { cold = false, own, ...options }: KernelBenchOptions = {},
): Promise<(KernelRow | FailedRow)[]> {
  const bytesOfSet = inputs.reduce((sum, { data }) => sum + data.byteLength, 0)
  const count = cold ? Math.max(1, Math.min(16, Math.ceil(coldBytes / bytesOfSet))) : 1
  const sets = Array.from({ length: count }, () => inputs.map((one) => device.tensor(one.data, one.shape)))
  const rows: (KernelRow | FailedRow)[] = []
  const { kernels } = device
  let choice: ReturnType<typeof choiceOf> = null
  let before: string | undefined
  const programs: Program<Tensor>[] = []
  try {
    choice = choiceOf(device, () => device.scope(() => void run(sets[0])))
    before = choice ? kernels.get(choice.key) : undefined
    const { key, candidates, fallback } = choice ?? { key: null, candidates: ['only'] }
    const timed: { readonly run: () => void; readonly row: Omit<KernelRow, keyof Timing> }[] = []

    /** `once` runs on a set of inputs, and gives what `release` gives back. */
    const measured = async (
      about: Pick<KernelRow, 'variant'> & Partial<KernelRow>,
      once: (set: number) => Tensor,
      release: (out: Tensor) => void,
    ): Promise<void> => {
      options.signal?.throwIfAborted()
      const row = { group, op, shape, variant: about.variant }
      try {
        const { flops, bytes, dispatches } = device.stats
        const out = once(0)
        const counted = {
          flops: device.stats.flops - flops,
          bytes: device.stats.bytes - bytes || bytesOfSet + out.size * 4,
          dispatches: device.stats.dispatches - dispatches,
        }
        const output = await out.read()
        release(out)
        let turn = 0
        const repeated = (): void => release(once(turn++ % count))
        repeated()
        await device.flush()
        const started = performance.now()
        for (let i = 0; i < hostRuns; i++) repeated()
        const hostMs = (performance.now() - started) / hostRuns
        await device.flush()
        const error = errorAt(output, places(output.length), exact)
        const plain = { choice: null, isDefault: false, isTuned: false, isBest: false, recorded: false }
        timed.push({
          run: repeated,
          row: { ...row, kind: 'kernel', ...plain, hostMs, error, right: error <= tolerance, ...counted, ...about },
        })
      } catch (error) {
        options.signal?.throwIfAborted()
        rows.push({ ...row, kind: 'failed', message: messageOf(error) })
      }
    }
    const dispose = (out: Tensor): void => out.dispose()
    for (const name of candidates) {
      const about = {
        variant: candidates.length > 1 ? name : 'only',
        choice: candidates.length > 1 ? key : null,
        isDefault: name === (fallback ?? candidates[0]),
        isTuned: key !== null && before === name,
      }
      const chosen = (): void => void (key !== null && kernels.set(key, name))
      const once = (set: number): Tensor => {
        chosen()
        return device.scope(() => run(sets[set]))
      }
      await measured(about, once, dispose)
      if (!about.isDefault || !device.replays || device.backend.kind === 'cpu') continue
      const replayed = (set: number): Tensor => {
        if (!programs[set]) {
          chosen()
          programs[set] = device.record(() => device.scope(() => run(sets[set])))
        }
        return programs[set].replay(0)
      }
      // Recorded before anything is counted.
      for (const [set] of sets.entries()) replayed(set)
      await measured({ ...about, isTuned: false, recorded: true }, replayed, () => {})
    }
    if (own) {
      // It does the same work, of which nobody counted.
      const work = { flops: timed[0]?.row.flops ?? 0, bytes: bytesOfSet + 4 * outputShape.reduce((a, b) => a * b, 1) }
      await measured({ variant: own.name, ...work }, (set) => own.run(sets[set]), dispose)
    }
    const times = await timeRuns(
      timed.map((one) => one.run),
      stopwatch,
      options,
    )
    const best = Math.min(...times.filter((_, i) => !timed[i].row.recorded).map(({ ms }) => ms))
    timed.forEach(({ row }, i) => rows.push({ ...row, ...times[i], isBest: !row.recorded && times[i].ms === best }))
    return rows
  } finally {
    if (choice && before === undefined) kernels.delete(choice.key)
    else if (choice) kernels.set(choice.key, before as string)
    for (const program of programs) program?.dispose()
    for (const t of sets.flat()) t.dispose()
  }
}
