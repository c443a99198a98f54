/**
 * Kernels among which one is chosen, and sums that are cut: where a grid leaves a GPU empty, several workgroups make
 * the same tile, each from a part of the terms, and a second kernel adds what they wrote, in order.
 */
import { sumSplitsShader, sumSplitsGrid, sumSplitsUniform, type Epilogue } from '../../../shaders/sum-splits.ts'
import type { Buffer, Capabilities, Dispatch, Encoder } from '../launch.ts'

/** One of several kernels: a dispatch but for its buffers. */
export interface Variant extends Pick<Dispatch, 'key' | 'code' | 'grid' | 'uniforms'> {
  /** Into how many parts its sum is cut, which are left to be added; 1: what it writes is the result. */
  readonly splits: number
}

/** What can compute something, by name, and the name of what does while nothing has been measured. */
export interface Candidates {
  readonly found: ReadonlyMap<string, () => Variant>
  readonly usual: string
}

/** What a kernel adds itself: nothing where its sum is cut, for then the kernel that adds the parts does. */
export const fusedIn = ({ bias, residual }: Epilogue, splits: number): Epilogue => ({
  bias: splits === 1 && bias,
  residual: splits === 1 && residual,
})

/**
 * Workgroups of 256 threads below which a GPU is taken to be empty: one for each of the 132 multiprocessors of an H100.
 * A cut that fills it has fewer than twice as many; the partial sums are 17.3 MB at most, of gemm.ts, which wants more,
 * 26 MB (nn/memory.ts says so).
 */
export const fullGrid = 132
/** A part has at least so many terms, three steps of a tile: on an H100 72 gained, 48 did not nor lost, 36 lost. */
const leastTerms = 48

/** The extent of a cut. */
interface Work {
  /** Workgroups of the whole kernel, and how many of them fill a GPU. */
  readonly workgroups: number
  readonly full: number
  /** Workgroups that are wanted if it is cut at all; default `full`. */
  readonly wanted?: number
  /** Terms of the sum, and those of the smallest piece that is not divided. */
  readonly terms: number
  readonly piece: number
}

/**
 * Adds a kernel to `found`, whole and, until it has four times as many workgroups as fill a GPU, cut. Gives the
 * smallest cut that fills one, or else the last.
 */
export function cut<T>(
  found: Map<string, () => T>,
  name: string,
  { workgroups, full, wanted = full, terms, piece }: Work,
  make: (splits: number) => T,
): { name: string; fills: boolean } {
  found.set(name, () => make(1))
  const pieces = Math.ceil(terms / piece)
  let usual = { name, fills: workgroups >= full }
  for (let asked = 2, before = 1; asked <= 32; asked *= 2) {
    const splits = Math.ceil(pieces / Math.ceil(pieces / asked))
    if (splits * leastTerms > terms || workgroups * before >= 4 * full) break
    found.set(`${name} /${asked}`, () => make(splits))
    if (!usual.fills) usual = { name: `${name} /${asked}`, fills: workgroups * splits >= wanted }
    before = splits
  }
  return usual
}

/**
 * Threads of a multiprocessor of an H100 with some 128 registers each, as 64 sums take. The partial sums of as many, 72
 * each, are 19.5 MB (nn/memory.ts says so).
 */
const threadsAtOnce = 512
/** More parts than that take longer to be added than computed. */
const mostParts = 128

/** Terms of a part whose sums are written and read in a third of the time at most that it takes to make them. */
const longPart = 256

/** What is to fill a GPU although its result is small. */
interface Long {
  /** Workgroups of the whole kernel, threads of one, and by how much its threads' registers are fewer than 128. */
  readonly workgroups: number
  readonly threads: number
  readonly lighter?: number
  /** Terms of the sum, and those of a step, which is not divided. */
  readonly terms: number
  readonly step: number
}

/**
 * Adds a kernel to `found` whose sum is much longer than its result is large, as weight gradients are: cut so that all
 * of its workgroups are in flight at once, so that half of them are, and so that there are twice as many. Where one
 * more workgroup than fit were left to the end the others would wait for it, so cuts are no powers of two. Gives the
 * first where its parts are long, else the second: a part writes its sums and has them read, for which an H100
 * computes some 80 terms of each.
 */
export function cutLong<T>(
  found: Map<string, () => T>,
  name: string,
  { workgroups, threads, lighter = 1, terms, step }: Long,
  make: (splits: number) => T,
): string {
  const steps = Math.ceil(terms / step)
  const most = Math.max(1, Math.min(mostParts, Math.floor(terms / leastTerms)))
  const [all, half] = [1, 0.5, 2].map((share) => {
    const wanted = Math.floor((share * fullGrid * threadsAtOnce * lighter) / threads / workgroups)
    const splits = Math.ceil(steps / Math.ceil(steps / Math.min(Math.max(wanted, 1), most)))
    const cut = splits > 1 ? `${name} /${splits}` : name
    found.set(cut, () => make(splits))
    return { name: cut, part: terms / splits }
  })
  return all.part >= longPart ? all.name : half.name
}

/** What was worked out before: a network asks hundreds of times a step for the same hundred. */
interface Known {
  readonly names: readonly string[]
  readonly usual: string
  readonly variantOf: (name: string) => Variant
}

const known = new WeakMap<Capabilities, Map<string, Known>>()
/** Pictures of ever other sizes shall not fill the memory. */
const maxKnown = 2000

function recall(capabilities: Capabilities, key: string, candidates: () => Candidates): Known {
  let ofDevice = known.get(capabilities)
  if (!ofDevice || ofDevice.size >= maxKnown) known.set(capabilities, (ofDevice = new Map()))
  let all = ofDevice.get(key)
  if (!all) {
    const { found, usual } = candidates()
    const made = new Map<string, Variant>()
    const variantOf = (name: string): Variant => {
      let variant = made.get(name)
      if (!variant) made.set(name, (variant = (found.get(name) as () => Variant)()))
      return variant
    }
    ofDevice.set(key, (all = { names: [...found.keys()], usual, variantOf }))
  }
  return all
}

/** What is to be computed by one of several kernels. */
interface Task {
  /** Names the choice, for the tuner; with `also` it says all that the candidates follow from. */
  readonly choice: string
  readonly also: string
  readonly candidates: () => Candidates
  readonly epilogue: Epilogue
  readonly flops: number
  /** Elements of the result, of one channel of it, and channels. */
  readonly count: number
  readonly area: number
  readonly channels: number
}

/**
 * Bytes for partial sums of so many: whole MiB where they are more than one, for memory that is free serves requests of
 * its own size alone, and layers have cuts of many sizes.
 */
const roomFor = (bytes: number): number => (bytes > 2 ** 20 ? Math.ceil(bytes / 2 ** 20) * 2 ** 20 : bytes)

/** Runs the kernel that was chosen; if its sum is cut also the one that adds the parts, bias and residual. */
export function runChosen(
  encoder: Encoder,
  { choice, also, candidates, epilogue, flops, count, area, channels }: Task,
  /** Both operands in the kernels' order, then bias and residual if there are. */
  [first, second, ...added]: readonly Buffer[],
  y: Buffer,
): void {
  const { names, usual, variantOf } = recall(encoder.capabilities, `${choice} ${also}`, candidates)
  const { splits, ...kernel } = variantOf(encoder.choose(choice, names, usual, variantOf))
  if (splits === 1) return encoder.dispatch({ ...kernel, read: [first, second, ...added], write: [y], flops })
  const partial = encoder.temporary(roomFor(splits * count * 4))
  encoder.dispatch({ ...kernel, read: [first, second], write: [partial], flops })
  sumSplits(encoder, { count, splits, area, channels }, epilogue, [partial, ...added], y)
}

/** Adds `splits` parts of `count` elements, with bias and residual after them, into `out`. */
export function sumSplits(
  encoder: Encoder,
  words: Parameters<typeof sumSplitsUniform.words>[0],
  epilogue: Epilogue,
  read: readonly Buffer[],
  out: Buffer,
): void {
  // As vectors where there are enough to fill a GPU.
  const vector = words.count % 4 === 0 && words.area % 4 === 0 && words.count >= 4 * 64 * fullGrid
  const keys = { ...epilogue, vector }
  encoder.dispatch({
    key: `sum-splits ${JSON.stringify(keys)}`,
    code: () => sumSplitsShader(keys),
    uniforms: sumSplitsUniform.words(words),
    read,
    write: [out],
    grid: sumSplitsGrid(words.count, keys),
  })
}
