/**
 * Picking along an axis: y[o, b, i] = x[o, index[o, b, i], i], and its gradient by the table. Tables are
 * [outer, entries, inner], picks [outer, picks, inner]; the index of pick (o, b, i) is at
 * o·outerStep + b·step + i·innerStep, steps that are zero along axes where all share one index (rows of an embedding).
 * An index outside the table is moved to its nearest end. The gradient scatters, and needs no atomics because a chunk
 * has columns (o, i) to itself: it clears them and adds their picks in order.
 */
@unmanaged
class GatherParams {
  /** x or dx. */
  table: usize
  index: usize
  /** y or dy. */
  picked: usize
  /** Elements of y, or columns (o, i) of dx. */
  count: i32
  /** Of `count` a chunk. */
  each: i32
  entries: i32
  picks: i32
  inner: i32
  outerStep: i32
  step: i32
  innerStep: i32
}

// @ts-ignore: decorator
@inline
function entryOf(p: GatherParams, at: i32): i32 {
  return max(min(load<i32>(p.index + (<usize>at << 2)), p.entries - 1), 0)
}

/** A chunk is `each` elements of y. */
export function gather(p: GatherParams, chunk: i32, scratch: usize): void {
  const end = min((chunk + 1) * p.each, p.count)
  let k = chunk * p.each
  while (k < end) {
    const row = k / p.inner
    const from = k - row * p.inner
    const run = min(p.inner - from, end - k)
    const o = row / p.picks
    const first = o * p.outerStep + (row - o * p.picks) * p.step + from * p.innerStep
    const source = p.table + (<usize>(o * p.entries * p.inner + from) << 2)
    const target = p.picked + (<usize>k << 2)
    if (p.innerStep == 0) {
      memory.copy(target, source + (<usize>(entryOf(p, first) * p.inner) << 2), <usize>run << 2)
    } else {
      for (let i = 0; i < run; i++) {
        store<f32>(
          target + (<usize>i << 2),
          load<f32>(source + (<usize>(entryOf(p, first + i * p.innerStep) * p.inner + i) << 2))
        )
      }
    }
    k += run
  }
}

/** A chunk is `each` columns of dx. */
export function gatherGrad(p: GatherParams, chunk: i32, scratch: usize): void {
  const end = min((chunk + 1) * p.each, p.count)
  const inner = <usize>p.inner << 2
  let column = chunk * p.each
  while (column < end) {
    const o = column / p.inner
    const from = column - o * p.inner
    const run = min(p.inner - from, end - column)
    const target = p.table + (<usize>(o * p.entries * p.inner + from) << 2)
    if (run == p.inner) memory.fill(target, 0, <usize>p.entries * inner)
    else for (let entry = 0; entry < p.entries; entry++) memory.fill(target + <usize>entry * inner, 0, <usize>run << 2)
    let dy = p.picked + (<usize>(o * p.picks * p.inner + from) << 2)
    for (let b = 0; b < p.picks; b++) {
      const first = o * p.outerStep + b * p.step + from * p.innerStep
      if (p.innerStep == 0) {
        const dx = target + <usize>entryOf(p, first) * inner
        let i: usize = 0
        for (; i + 16 <= <usize>run << 2; i += 16) v128.store(dx + i, f32x4.add(v128.load(dx + i), v128.load(dy + i)))
        for (; i < <usize>run << 2; i += 4) store<f32>(dx + i, load<f32>(dx + i) + load<f32>(dy + i))
      } else {
        for (let i = 0; i < run; i++) {
          const dx = target + (<usize>(entryOf(p, first + i * p.innerStep) * p.inner + i) << 2)
          store<f32>(dx, load<f32>(dx) + load<f32>(dy + (<usize>i << 2)))
        }
      }
      dy += inner
    }
    column += run
  }
}
