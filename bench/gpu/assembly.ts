/**
 * How much of a kernel's work is work: the share of multiply-adds among the instructions of its inner loop, and of a
 * round of the loop around it, which also fetches what the inner one adds up. Read from the assembly that RADV prints.
 */
import type { TextLoop } from './wgsl.ts'

interface Loop {
  /** Blocks of it, by their place in the text. */
  readonly first: number
  last: number
  readonly inner: Loop[]
}

interface Sum {
  readonly instructions: number
  readonly fmas: number
}

export interface Shares {
  /** Of the loop with the most multiply-adds, without those inside it. */
  readonly inner: number | null
  /** Of the outermost loop around that; null where it is not known how often each loop in it runs. */
  readonly round: number | null
}

// Instructions that compute nothing and only say when to go on.
const timing = /^s_(waitcnt|wait_|delay|nop|clause|set_inst|inst_prefetch)/
const multiplyAdd =
  /^v_(dual_|pk_)?(fma|fmac|mac|mad|fmamk|fmaak|madmk|madak|fma_mix)_(legacy_)?f(16|32)|^v_(wmma|dot2)/

/** The blocks of an assembly listing, and the block each may jump to. */
function blocksOf(listing: string): { sum: Sum; targets: number[] }[] {
  const blocks: { name: number; instructions: string[]; jumps: number[] }[] = []
  for (const line of listing.split('\n')) {
    const label = /^BB(\d+):/.exec(line)
    if (label) blocks.push({ name: Number(label[1]), instructions: [], jumps: [] })
    const [, op, rest] = /^\t([a-z]\w+)(.*)/.exec(line) ?? []
    const block = blocks.at(-1)
    if (op === undefined || !block) continue
    block.instructions.push(op)
    const jump = op.startsWith('s_cbranch') || op === 's_branch' ? /BB(\d+)/.exec(rest) : null
    if (jump) block.jumps.push(Number(jump[1]))
  }
  const places = new Map(blocks.map(({ name }, place) => [name, place]))
  return blocks.map(({ instructions, jumps }) => {
    const counted = instructions.filter((op) => !timing.test(op))
    return {
      sum: { instructions: counted.length, fmas: counted.filter((op) => multiplyAdd.test(op)).length },
      targets: jumps.map((name) => places.get(name)!),
    }
  })
}

/** Loops are where a block jumps back: RADV lays out what is between in one piece. */
function loopsOf(blocks: readonly { readonly targets: readonly number[] }[]): Loop[] {
  const ends = new Map<number, number>()
  for (const [place, { targets }] of blocks.entries())
    for (const target of targets) if (target <= place) ends.set(target, Math.max(place, ends.get(target) ?? 0))
  const roots: Loop[] = []
  for (const [first, last] of [...ends].sort(([a], [b]) => a - b)) {
    let siblings = roots
    for (let around = siblings.at(-1); around && first <= around.last; around = siblings.at(-1)) siblings = around.inner
    siblings.push({ first, last, inner: [] })
  }
  return roots
}

/** How often the loops inside one run; null where the text does not say, or does not match. */
type Trips = readonly { readonly trips: number; readonly inner: Trips | null }[]

/**
 * The text's loops for those that the compiler left: it may have written out some whose number of rounds it knows, and
 * with them what is inside.
 */
function match(left: readonly Loop[], text: readonly TextLoop[]): Trips | null {
  if (left.length === 0) return []
  for (const kept of choices(text)) {
    if (kept.length !== left.length || kept.some(({ trips }) => trips === null)) continue
    return kept.map(({ trips, inner }, i) => ({ trips: trips!, inner: match(left[i].inner, inner) }))
  }
  return null
}

/** The loops of a text with more and more of them written out, the last first: it is the innermost one mostly. */
function* choices(text: readonly TextLoop[]): Generator<readonly TextLoop[]> {
  yield text
  const constant = [...text.keys()].filter((i) => text[i].constant && text[i].trips! <= 64).reverse()
  for (let many = 1; many <= constant.length; many++) {
    const out = new Set(constant.slice(0, many))
    yield text.flatMap((loop, i) => (out.has(i) ? new Array(loop.trips!).fill(loop.inner).flat() : [loop]))
  }
}

export function sharesOf(listing: string, text: readonly TextLoop[]): Shares {
  const blocks = blocksOf(listing)
  const add = (a: Sum, b: Sum, times = 1): Sum => ({
    instructions: a.instructions + times * b.instructions,
    fmas: a.fmas + times * b.fmas,
  })
  const nothing: Sum = { instructions: 0, fmas: 0 }
  /** One round of a loop without the loops in it. */
  const own = ({ first, last, inner }: Loop): Sum =>
    blocks
      .slice(first, last + 1)
      .filter((_, i) => !inner.some((loop) => loop.first <= first + i && first + i <= loop.last))
      .reduce((sum, block) => add(sum, block.sum), nothing)
  const round = (loop: Loop, inner: Trips | null): Sum | null => {
    let sum = own(loop)
    for (const [i, part] of loop.inner.entries()) {
      const known = inner?.[i]
      const one = known && round(part, known.inner)
      if (!known || !one) return null
      sum = add(sum, one, known.trips)
    }
    return sum
  }
  const share = (sum: Sum | null): number | null =>
    sum && sum.fmas > 0 ? Number((sum.fmas / sum.instructions).toFixed(3)) : null
  const flat = (loops: readonly Loop[]): Loop[] => loops.flatMap((loop) => [loop, ...flat(loop.inner)])
  const roots = loopsOf(blocks)
  const busiest = flat(roots).reduce<Loop | null>(
    (best, loop) => (own(loop).fmas > (best ? own(best).fmas : 0) ? loop : best),
    null,
  )
  const outer = roots.find(({ first, last }) => busiest && first <= busiest.first && busiest.last <= last)
  if (!busiest || !outer) return { inner: null, round: null }
  // Which loop of the text it is: one that has as many inside, once some are written out.
  for (const loop of text) {
    const trips = match(outer.inner, loop.inner)
    if (trips) return { inner: share(own(busiest)), round: share(round(outer, trips)) }
  }
  return { inner: share(own(busiest)), round: null }
}
