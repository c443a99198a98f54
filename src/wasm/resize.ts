/**
 * Bilinear resizing with the pixels' corners at their edges (PyTorch's align_corners=false, no antialiasing): output
 * i of `out` reads at (i + ½)·in/out − ½, not below 0, between that element and the next, or the last one twice. The
 * position is a fraction of whole numbers, ((2i + 1)·in − out over 2·out), so that weights are exact to rounding. It
 * is separable: a row of output is two rows of input blended, then read along x by a table of positions. Backward
 * the same rows the other way around: the rows of dy that read a row of x are added up with their weights, then
 * spread along x in order.
 */
@unmanaged
class ResizeParams {
  /** x or dx, planes [h, w]. */
  image: usize
  /** y or dy, planes [ho, wo]. */
  resized: usize
  /** Rows of the output, of all planes. */
  rows: i32
  /** Rows a chunk. */
  each: i32
  h: i32
  w: i32
  ho: i32
  wo: i32
}

/** Twice `sizeOut` times the place where output i reads. */
// @ts-ignore: decorator
@inline
function positionOf(i: i32, size: i32, sizeOut: i32): i32 {
  return max((2 * i + 1) * size - sizeOut, 0)
}

/** How much of element `low` + 1, and not of `low`, that place means. */
// @ts-ignore: decorator
@inline
function weightOf(position: i32, low: i32, sizeOut: i32): f32 {
  return f32(position - low * sizeOut * 2) / f32(sizeOut * 2)
}

/** For every output column: byte offsets of the elements it reads, and the weight of the second. 12 bytes each. */
function fillColumns(columns: usize, w: i32, wo: i32): void {
  for (let ox = 0; ox < wo; ox++) {
    const position = positionOf(ox, w, wo)
    const low = position / (2 * wo)
    store<i32>(columns, low << 2)
    store<i32>(columns, min(low + 1, w - 1) << 2, 4)
    store<f32>(columns, weightOf(position, low, wo), 8)
    columns += 12
  }
}

/** target = a·(1 − weight) + b·weight. */
// @ts-ignore: decorator
@inline
function blend(target: usize, a: usize, b: usize, weight: f32, bytes: usize): void {
  const other: f32 = 1 - weight
  let i: usize = 0
  for (; i + 16 <= bytes; i += 16) {
    v128.store(
      target + i,
      f32x4.add(f32x4.mul(v128.load(a + i), f32x4.splat(other)), f32x4.mul(v128.load(b + i), f32x4.splat(weight)))
    )
  }
  for (; i < bytes; i += 4) store<f32>(target + i, load<f32>(a + i) * other + load<f32>(b + i) * weight)
}

/** Scratch: 12·wo bytes of columns, 4·w of a row. */
export function resizeBilinear(p: ResizeParams, chunk: i32, scratch: usize): void {
  const end = min((chunk + 1) * p.each, p.rows)
  const bytes = <usize>p.w << 2
  const blended = scratch + <usize>p.wo * 12
  fillColumns(scratch, p.w, p.wo)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.ho
    const position = positionOf(row - plane * p.ho, p.h, p.ho)
    const low = position / (2 * p.ho)
    const image = p.image + <usize>(plane * p.h) * bytes
    blend(
      blended, image + <usize>low * bytes, image + <usize>min(low + 1, p.h - 1) * bytes, weightOf(position, low, p.ho),
      bytes
    )
    let y = p.resized + (<usize>(row * p.wo) << 2)
    for (let column = scratch; column < blended; column += 12) {
      const weight = load<f32>(column, 8)
      store<f32>(
        y, load<f32>(blended + load<i32>(column)) * (1 - weight) + load<f32>(blended + load<i32>(column, 4)) * weight
      )
      y += 4
    }
  }
}

/** Scratch: 12·wo bytes of columns, 4·wo of a row. */
export function resizeBilinearGrad(p: ResizeParams, chunk: i32, scratch: usize): void {
  const end = min((chunk + 1) * p.each, p.rows)
  const bytes = <usize>p.wo << 2
  const gathered = scratch + <usize>p.wo * 12
  fillColumns(scratch, p.w, p.wo)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.h
    const y = row - plane * p.h
    const dx = p.image + (<usize>(row * p.w) << 2)
    const dy = p.resized + <usize>(plane * p.ho) * bytes
    memory.fill(gathered, 0, bytes)
    // Readers of row y have their low neighbour at y − 1 or y: (2·oy + 1)·h from (2y − 1)·ho to (2y +
    // 3)·ho, rounded outwards.
    const first = max(((2 * y - 1) * p.ho - p.h) / (2 * p.h), 0)
    const last = min(((2 * y + 3) * p.ho - p.h) / (2 * p.h), p.ho - 1)
    for (let oy = first; oy <= last; oy++) {
      const position = positionOf(oy, p.h, p.ho)
      const low = position / (2 * p.ho)
      const weight = weightOf(position, low, p.ho)
      let share: f32 = 0
      if (low == y) share += 1 - weight
      if (min(low + 1, p.h - 1) == y) share += weight
      if (share != 0) addScaled(gathered, dy + <usize>oy * bytes, share, bytes)
    }
    memory.fill(dx, 0, <usize>p.w << 2)
    let source = gathered
    for (let column = scratch; column < gathered; column += 12) {
      const value = load<f32>(source)
      const weight = load<f32>(column, 8)
      const low = dx + load<i32>(column)
      store<f32>(low, load<f32>(low) + value * (1 - weight))
      const high = dx + load<i32>(column, 4)
      store<f32>(high, load<f32>(high) + value * weight)
      source += 4
    }
  }
}

/** target += source · factor. */
// @ts-ignore: decorator
@inline
function addScaled(target: usize, source: usize, factor: f32, bytes: usize): void {
  let i: usize = 0
  for (; i + 16 <= bytes; i += 16) {
    v128.store(target + i, f32x4.add(v128.load(target + i), f32x4.mul(v128.load(source + i), f32x4.splat(factor))))
  }
  for (; i < bytes; i += 4) store<f32>(target + i, load<f32>(target + i) + load<f32>(source + i) * factor)
}
