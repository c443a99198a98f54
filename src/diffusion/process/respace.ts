import { TweedieError } from '../../errors.ts'
import { betaSchedule, diffusionTables } from './schedule.ts'
import type { NoiseProcess } from '../../nn/config.ts'
import type { DiffusionTables } from './schedule.ts'

/**
 * Steps to walk a process in: `50`, `'50'`, `'ddim50'`, `'10,15,20'` or a list of counts; see {@link spaceTimesteps}.
 */
export type Respacing = number | string | readonly number[]

/**
 * Which of T steps are kept, in ascending order.
 * - `''`: all of them.
 * - `'ddimN'`: the smallest integer stride that yields exactly N steps, from 0.
 * - `250`, `'250'`, `'10,15,20'` or a list of counts: T is cut into as many sections as there are counts (the
 *   first T mod n one longer), each walked in equal strides from its first to its last step. Halves round to
 *   even, as Python's do.
 * @throws TweedieError 'option'
 * @example spaceTimesteps(1000, '250') // 0, 4, 8, ..., 995, 999
 */
export function spaceTimesteps(T: number, spec: Respacing): number[] {
  const fail = (message: string): never => {
    throw new TweedieError(
      'option',
      `respacing ${typeof spec === 'number' ? spec : `"${String(spec)}"`} of ${T} steps: ${message}`,
    )
  }
  if (typeof spec === 'number') {
    if (!Number.isInteger(spec) || spec < 1 || spec > T) fail(`a number of steps is a whole one from 1 to ${T}`)
    return spaceTimesteps(T, [spec])
  }
  if (typeof spec !== 'string' && !Array.isArray(spec)) fail(`expected 250, "ddim25", "10,15,20" or a list of counts`)
  if (typeof spec === 'string' && spec.startsWith('ddim')) {
    const wanted = count(spec.slice(4), fail)
    for (let stride = 1; stride < T; stride++) {
      if (Math.ceil(T / stride) === wanted) return range(wanted).map((k) => k * stride)
    }
    return fail(`no integer stride yields exactly ${wanted} steps`)
  }
  if (spec === '') return range(T)
  const counts = typeof spec === 'string' ? spec.split(',').map((part) => count(part, fail)) : spec
  if (counts.length === 0) fail('a list has one count at least')
  if (counts.some((n) => !Number.isInteger(n) || n < 1)) fail('counts must be positive integers')

  const kept = new Set<number>()
  let start = 0
  counts.forEach((steps, section) => {
    const size = Math.floor(T / counts.length) + (section < T % counts.length ? 1 : 0)
    if (steps > size) fail(`section ${section + 1} has ${size} steps, of which ${steps} cannot be kept`)
    const stride = steps <= 1 ? 1 : (size - 1) / (steps - 1)
    let current = 0 // accumulated in double, as the reference does: k * stride rounds differently
    for (let k = 0; k < steps; k++) {
      kept.add(start + roundHalfToEven(current))
      current += stride
    }
    start += size
  })
  return [...kept].sort((a, b) => a - b)
}

/** The noise of a process, of which timesteps are not rescaled by default, and the steps to walk it in. */
export interface RespaceOptions
  extends Pick<NoiseProcess, 'schedule' | 'diffusionSteps'>,
    Partial<Pick<NoiseProcess, 'rescaleTimesteps'>> {
  /** `250`, `'10,15,20'`, `'ddim25'`, see {@link spaceTimesteps}. Default '': all T steps. */
  readonly respacing?: Respacing
}

/** A process of T training steps, walked in T' of them; {@link respace} makes it. */
export interface RespacedProcess {
  /** Its coefficients, by respaced index. */
  readonly tables: DiffusionTables
  /** T'. */
  readonly steps: number
  /** The original timestep of respaced index k. */
  readonly timestepMap: readonly number[]
  /** What the network is given at respaced index k: the mapped timestep, rescaled (in float32) where asked for. */
  modelTimestep(k: number): number
}

/**
 * A process of `diffusionSteps` steps walked as `respacing` says (Improved DDPM Eq. 19; guided-diffusion respace.py).
 * The kept steps' betas are rebuilt so that alphaBar is unchanged where a step is kept, and every table is indexed by
 * the respaced index k; only the network (and a classifier) sees the original timestep, mapped and, where the model was
 * trained so, rescaled. `beta'_k = 1 - abar_i / abar_(last kept)` is not capped at 0.999 again (cosine, 1000 to 250:
 * the last is 0.99994).
 *
 * @throws TweedieError 'option'
 * @example respace({ schedule: 'cosine', diffusionSteps: 1000, respacing: '250' }).steps // 250
 */
export function respace(options: RespaceOptions): RespacedProcess {
  const { schedule, diffusionSteps: T, respacing = '', rescaleTimesteps = false } = options
  const betas = betaSchedule(schedule, T)
  const timestepMap = spaceTimesteps(T, respacing)
  const respaced: number[] = []
  let alphaBar = 1
  let lastKept = 1
  let next = 0
  betas.forEach((beta, t) => {
    alphaBar *= 1 - beta
    if (timestepMap[next] !== t) return
    respaced.push(1 - alphaBar / lastKept)
    lastKept = alphaBar
    next++
  })
  const scale = rescaleTimesteps ? Math.fround(1000 / T) : 1
  return {
    tables: diffusionTables(respaced),
    steps: respaced.length,
    timestepMap,
    modelTimestep: (k) => {
      const t = timestepMap[k]
      if (t === undefined) throw new TweedieError('option', `step ${k} is outside 0..${timestepMap.length - 1}`)
      return Math.fround(t * scale)
    },
  }
}

function count(text: string, fail: (message: string) => never): number {
  return /^\s*[1-9]\d*\s*$/.test(text) ? Number(text) : fail(`expected "ddimN" or counts such as "250" or "10,15,20"`)
}

function range(n: number): number[] {
  return Array.from({ length: n }, (_, k) => k)
}

/**
 * Python's round, to the even neighbour, which guided-diffusion's `space_timesteps` uses. Math.round takes halves up.
 */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}
