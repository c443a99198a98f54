/**
 * What the group-norm kernels share. A row is the positions of one sample and channel, a group the rows of neighbouring
 * channels; both are contiguous. Loops take whole vectors; the last 1 to 3 floats of a row are copied into a vector of
 * scratch, so that every element goes through the same code.
 *
 * x − mean is formed first and multiplied then: folding the mean into the shift would cancel at large means.
 */

/** Parameters that all of them begin with. */
@unmanaged
export class GroupParams {
  x: usize
  /** Mean and 1 / sqrt(variance + eps) of each group. */
  statistics: usize
  weight: usize
  bias: usize
  /** [N, 2C]: scale, then shift; 0 where there is none. */
  scaleShift: usize
  channels: i32
  groups: i32
  positions: i32
  silu: i32
  /** Pieces of work in all, and a chunk: parts of groups, of which small groups have one; in the sums rows. */
  count: i32
  each: i32
  parts: i32
  /** Elements of a part; a group's last may have fewer. */
  part: i32
}

// @ts-ignore: decorator
@inline
export function floatAt(base: usize, index: i32): f32 {
  return load<f32>(base + (<usize>index << 2))
}

/** What the normalised values of row n · C + c are multiplied by: weight · (1 + scale). */
export function factorOf(p: GroupParams, row: i32): f32 {
  const c = row % p.channels
  const weight = floatAt(p.weight, c)
  return p.scaleShift ? weight * (1 + floatAt(p.scaleShift, row + row - c)) : weight
}

/** What is added to them then: bias · (1 + scale) + shift. */
export function offsetOf(p: GroupParams, row: i32): f32 {
  const c = row % p.channels
  const bias = floatAt(p.bias, c)
  const at = row + row - c
  return p.scaleShift ? bias * (1 + floatAt(p.scaleShift, at)) + floatAt(p.scaleShift, at + p.channels) : bias
}

/** Copies 1 to 3 floats. */
export function copyFew(target: usize, source: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 4) store<f32>(target + i, load<f32>(source + i))
}
