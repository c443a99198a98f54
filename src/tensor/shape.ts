/**
 * Shapes and index arithmetic. Tensors are dense and row-major, images are `[N, C, H, W]`. Kernels never see more
 * dimensions than they must: {@link collapse} merges neighbouring axes that every operand walks through in one stride,
 * so that adding a bias `[1, C, 1, 1]` to `[N, C, H, W]` is a loop over `[N, C, H*W]` and adding two images is flat.
 */
import { TweedieError, unexpected } from '../errors.ts'

/** Extents of a tensor's axes, from the slowest to the fastest: [N, C, H, W] of images. Empty of a single number. */
export type Shape = readonly number[]

/** Number of elements. */
export const sizeOf = (shape: Shape): number => shape.reduce((product, n) => product * n, 1)

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((n, i) => n === b[i])

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`

const formatShapes = (tensors: readonly { readonly shape: Shape }[]): string =>
  tensors.map((t) => formatShape(t.shape)).join(', ')

/** A call as errors of a backend name it: `conv2d([1, 3, 8, 8], [4, 3, 3, 3] → [1, 4, 6, 6])`. */
export const formatCall = (
  user: string,
  inputs: readonly { readonly shape: Shape }[],
  outputs: readonly { readonly shape: Shape }[],
): string => `${user}(${formatShapes(inputs)} → ${formatShapes(outputs)})`

/** Throws 'option', naming `user`, for what is no array: `axes: 1`, or a shape of one number. */
export function checkArray(user: string, what: string, value: unknown): void {
  if (!Array.isArray(value)) throw unexpected(user, `${what}, in an array`, value)
}

/** A copy of `shape`, whose array may be the caller's. Throws, naming `user`, for what is none. */
export function checkShape(user: string, shape: Shape): Shape {
  checkArray(user, 'the dimensions of a shape', shape)
  for (const n of shape) {
    if (!Number.isSafeInteger(n) || n < 1) {
      throw new TweedieError('shape', `${user}: a shape has positive whole dimensions, found ${formatShape(shape)}.`)
    }
  }
  return [...shape]
}

/** The error of an op for shapes that do not fit: what it expected, and what it found. */
export function shapeError(op: string, expected: string, ...found: readonly Shape[]): TweedieError {
  return new TweedieError('shape', `${op}: expected ${expected}, found ${found.map(formatShape).join(' and ')}.`)
}

/** NumPy's broadcasting: shapes are aligned at the right, a dimension of 1 stretches. */
export function broadcastShapes(op: string, shapes: readonly Shape[]): Shape {
  const rank = Math.max(0, ...shapes.map((s) => s.length))
  const out = new Array<number>(rank).fill(1)
  for (const shape of shapes) {
    for (let i = 0; i < shape.length; i++) {
      const axis = rank - shape.length + i
      if (shape[i] === 1) continue
      if (out[axis] !== 1 && out[axis] !== shape[i]) throw shapeError(op, 'shapes that broadcast', ...shapes)
      out[axis] = shape[i]
    }
  }
  return out
}

/** Whether broadcasting stretches `shape` to `target`, or leaves it as it is. */
export function stretchesTo(shape: Shape, target: Shape): boolean {
  const lead = target.length - shape.length
  return lead >= 0 && shape.every((n, i) => n === 1 || n === target[lead + i])
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  let step = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step
    step *= shape[i]
  }
  return strides
}

/** Strides that walk `shape` as if it had been stretched to `target`: 0 along stretched axes. */
export function broadcastStrides(shape: Shape, target: Shape): number[] {
  const own = stridesOf(shape)
  const lead = target.length - shape.length
  return target.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : own[i - lead]))
}

/** Nested loops that walk through operands, as few as their strides allow: what {@link collapse} makes. */
export interface Loops {
  /** Extents, outermost first; never empty. */
  dims: number[]
  /** For each operand its stride along each of `dims`. */
  strides: number[][]
}

/**
 * Drops axes of extent 1 and merges neighbours `(i, i+1)` where every operand's stride obeys
 * `stride[i] === stride[i+1] * dims[i+1]`. Axes for which `keepApart(i)` is true are not merged with axis i + 1.
 */
export function collapse(
  shape: Shape,
  strides: readonly (readonly number[])[],
  keepApart?: (axis: number) => boolean,
): Loops {
  const dims: number[] = []
  const out: number[][] = strides.map(() => [])
  let barrier = false
  for (let axis = 0; axis < shape.length; axis++) {
    if (shape[axis] !== 1) {
      const last = dims.length - 1
      const merge = last >= 0 && !barrier && strides.every((s, k) => out[k][last] === s[axis] * shape[axis])
      if (merge) {
        dims[last] *= shape[axis]
        strides.forEach((s, k) => (out[k][last] = s[axis]))
      } else {
        dims.push(shape[axis])
        strides.forEach((s, k) => out[k].push(s[axis]))
      }
      barrier = false
    }
    if (keepApart?.(axis)) barrier = true
  }
  if (dims.length === 0) {
    dims.push(1)
    out.forEach((s) => s.push(0))
  }
  return { dims, strides: out }
}

/** `axis` counted from the front; negative values count from the back. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  const out = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(out) || out < 0 || out >= rank) {
    throw new TweedieError('shape', `${op}: axis ${axis} does not exist in a tensor of ${rank} dimensions.`)
  }
  return out
}
