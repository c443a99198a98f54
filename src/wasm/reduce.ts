/**
 * Sums and maxima along axes. The host merges neighbouring axes that are both reduced or both kept, so that axes
 * alternate; which kernel runs depends on the innermost:
 *
 * - it is reduced: rows are contiguous, an output is the sum of the sums of its rows. Long rows are cut into pieces.
 * - it is kept: outputs are neighbours; columns are added 32 at a time in registers.
 *
 * Where there is much to add for each output, `parts` share it and write their results to `[outputs][parts]`, or for
 * columns `[parts][outputs]`, which are reduced again.
 */
import { maxOf, sumOf } from './reduce-run'
import { Words } from './words'

@unmanaged
class ReduceParams {
  x: usize
  y: usize
  /** 1 for the maximum. */
  max: i32
  /** Pieces of work in all: parts of outputs, or of blocks of columns; and how many a chunk. */
  count: i32
  each: i32
  parts: i32
  /** Steps of the reduction in all, and of a part. */
  steps: i32
  stepsEach: i32
  /** Extent of the innermost axis; what of it is in a step (rows) or in a piece of work (columns). */
  length: i32
  piece: i32
  keptRank: i32
  reducedRank: i32
  /** Extents of the outer kept axes, their strides, extents of the outer reduced axes, their strides. */
  axes: Words
}

/** Where number `index` of the elements along `rank` axes lies. */
// @ts-ignore: decorator
@inline
function offsetOf(index: i32, axes: usize, rank: i32): i32 {
  let offset = 0
  for (let a = rank - 1; a > 0; a--) {
    const extent = load<i32>(axes + (<usize>a << 2))
    offset += index % extent * load<i32>(axes + (<usize>(rank + a) << 2))
    index /= extent
  }
  return rank ? offset + index * load<i32>(axes + (<usize>rank << 2)) : offset
}

export function reduceRows(p: ReduceParams, chunk: i32, scratch: usize): void {
  const kept = changetype<usize>(p) + offsetof<ReduceParams>('axes')
  const reduced = kept + (<usize>p.keptRank << 3)
  const pieces = (p.length + p.piece - 1) / p.piece
  const last = min((chunk + 1) * p.each, p.count)
  for (let item = chunk * p.each; item < last; item++) {
    const start = offsetOf(item / p.parts, kept, p.keptRank)
    const from = item % p.parts * p.stepsEach
    const to = min(from + p.stepsEach, p.steps)
    let total: f64 = p.max ? -Infinity : 0
    for (let step = from; step < to; step++) {
      const begin = step % pieces * p.piece
      const at = p.x + (<usize>(start + offsetOf(step / pieces, reduced, p.reducedRank) + begin) << 2)
      const count = min(p.piece, p.length - begin)
      if (p.max) total = max(total, <f64>maxOf(at, count))
      else total += sumOf(at, count)
    }
    store<f32>(p.y + (<usize>item << 2), <f32>total)
  }
}

export function reduceColumns(p: ReduceParams, chunk: i32, scratch: usize): void {
  const kept = changetype<usize>(p) + offsetof<ReduceParams>('axes')
  const reduced = kept + (<usize>p.keptRank << 3)
  const pieces = (p.length + p.piece - 1) / p.piece
  const outer = p.count / (p.parts * pieces)
  const last = min((chunk + 1) * p.each, p.count)
  for (let item = chunk * p.each; item < last; item++) {
    const part = item / (outer * pieces)
    const row = item / pieces % outer
    const begin = item % pieces * p.piece
    const from = part * p.stepsEach
    const to = min(from + p.stepsEach, p.steps)
    let x = p.x + (<usize>(offsetOf(row, kept, p.keptRank) + begin) << 2)
    let y = p.y + (<usize>((part * outer + row) * p.length + begin) << 2)
    const end = y + (<usize>min(p.piece, p.length - begin) << 2)
    while (y + 128 <= end) {
      if (p.max) columns(x, y, from, to, reduced, p.reducedRank, true)
      else columns(x, y, from, to, reduced, p.reducedRank, false)
      x += 128
      y += 128
    }
    while (y < end) {
      let total: f64 = p.max ? -Infinity : 0
      for (let step = from; step < to; step++) {
        const value = <f64>load<f32>(x + (<usize>offsetOf(step, reduced, p.reducedRank) << 2))
        if (p.max) total = max(total, value)
        else total += value
      }
      store<f32>(y, <f32>total)
      x += 4
      y += 4
    }
  }
}

/** 32 columns. */
// @ts-ignore: decorator
@inline
function columns(x: usize, y: usize, from: i32, to: i32, reduced: usize, rank: i32, isMax: bool): void {
  const none = f32x4.splat(isMax ? -Infinity : 0)
  let c0 = none, c1 = none, c2 = none, c3 = none, c4 = none, c5 = none, c6 = none, c7 = none
  for (let step = from; step < to; step++) {
    const at = x + (<usize>offsetOf(step, reduced, rank) << 2)
    c0 = join(c0, v128.load(at), isMax)
    c1 = join(c1, v128.load(at, 16), isMax)
    c2 = join(c2, v128.load(at, 32), isMax)
    c3 = join(c3, v128.load(at, 48), isMax)
    c4 = join(c4, v128.load(at, 64), isMax)
    c5 = join(c5, v128.load(at, 80), isMax)
    c6 = join(c6, v128.load(at, 96), isMax)
    c7 = join(c7, v128.load(at, 112), isMax)
  }
  v128.store(y, c0)
  v128.store(y, c1, 16)
  v128.store(y, c2, 32)
  v128.store(y, c3, 48)
  v128.store(y, c4, 64)
  v128.store(y, c5, 80)
  v128.store(y, c6, 96)
  v128.store(y, c7, 112)
}

// @ts-ignore: decorator
@inline
function join(a: v128, b: v128, isMax: bool): v128 {
  return isMax ? f32x4.max(a, b) : f32x4.add(a, b)
}
