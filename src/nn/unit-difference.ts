/**
 * The tail of a tap of a perceptual distance (Zhang et al. 2018, Eq. 1: LPIPS, and our own feature net): from two maps
 * before their ReLU to the weighted squared difference of the unit vectors at every place, with a gradient by
 * hand.
 */
import {
  customGradient,
  expression,
  f,
  map,
  noGrad,
  sum,
  type Expression,
  type ExpressionNode as Node,
  type Tensor,
} from '../tensor/index.ts'

const square = (x: Node): Node => f.mul(x, x)

const energy = expression(1, 0, ([x]) => square(f.max(x, 0)))

/** Below the smallest normal number squares are lost to f32: a vector that short (1e-19) counts as 0. */
const nonzero = (s: Node): Node => f.ge(s, 1.2e-38)

/** 1 / (|f| + 1e-10), the epsilon outside the root as in the reference; s = |f|². 0 for the zero vector. */
const reciprocal = (s: Node): Node => f.select(nonzero(s), f.div(1, f.add(f.sqrt(s), 1e-10)), 0)

/**
 * ReLU(x) / (|f| + 1e-10). The ReLU comes last, which is the same since the factor is not negative, and keeps compilers
 * from contracting the difference of two of these to a fused multiply-add, whose single rounding would make d(a,
 * a) > 0.
 */
const unit = (x: Node, s: Node): Node => f.max(f.mul(x, reciprocal(s)), 0)

const weighted = expression(5, 1, ([x, sx, y, sy, w], [scale]) =>
  f.mul(f.mul(scale, w), square(f.sub(unit(x, sx), unit(y, sy)))),
)

/*
 * By hand, because a derivative of the square root of 0 is infinite. With u = f / (n + 1e-10), n = |f|, and q the
 * gradient by u, the gradient by f is (q - f / n (q . u)) / (n + 1e-10); q = 2 w (u - v) times the cotangent, which is
 * left out of the dot product since it is the same for all channels.
 */
const dotTerm = expression(5, 0, ([x, sx, y, sy, w]) => f.mul(f.mul(w, f.sub(unit(x, sx), unit(y, sy))), unit(x, sx)))

const gradientByMap = expression(7, 1, ([x, sx, y, sy, w, dot, cotangent], [scale]) => {
  const q = f.mul(w, f.sub(unit(x, sx), unit(y, sy)))
  const along = f.mul(f.div(x, f.sqrt(sx)), dot)
  const full = f.mul(f.mul(f.mul(scale, 2), cotangent), f.mul(reciprocal(sx), f.sub(q, along)))
  return f.select(f.mul(f.gt(x, 0), nonzero(sx)), full, 0)
})

const gradientByWeight = expression(5, 1, ([x, sx, y, sy, cotangent], [scale]) =>
  f.mul(f.mul(scale, cotangent), square(f.sub(unit(x, sx), unit(y, sy)))),
)

/**
 * scale · Σ_c w_c (û_c - v̂_c)², [N, 1, h, w], of maps before their ReLU [N, C, h, w] and w [1, C, 1, 1]. Exactly 0 for
 * equal maps. Differentiable by all three; where all channels of a place are 0 the gradient is 0.
 */
export function unitDifference(x: Tensor, y: Tensor, w: Tensor, scale: number): Tensor {
  const { device } = x
  const [byX, byY, byW] = [x, y, w].map((t) => device.tape?.watches(t.id) ?? false)
  const overChannels = (term: Expression, inputs: readonly Tensor[], scalars: readonly number[] = []): Tensor =>
    device.scope(() => sum(map(term, inputs, scalars), { axes: [1], keepDims: true }))
  // The gradient by the energies is part of the one by hand.
  const [sx, sy] = noGrad(device, () => [x, y].map((t) => overChannels(energy, [t])))
  const byMap = (cotangent: Tensor, pair: readonly Tensor[]): Tensor =>
    map(gradientByMap, [...pair, overChannels(dotTerm, pair), cotangent], [scale])
  return customGradient(
    (...inputs) => overChannels(weighted, inputs, [scale]),
    (cotangent, p, sp, q, sq, weight) => [
      byX ? byMap(cotangent, [p, sp, q, sq, weight]) : null,
      null,
      byY ? byMap(cotangent, [q, sq, p, sp, weight]) : null,
      null,
      byW ? map(gradientByWeight, [p, sp, q, sq, cotangent], [scale]) : null,
    ],
    [x, sx, y, sy, w],
  )
}
