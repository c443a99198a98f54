// Convolution in float64 on every `every`-th output, with the scale Σ|a||b| of each.
import type { ConvShape } from '../../src/shaders/conv2d-shape.ts'
export function reference(s: ConvShape, x: Float32Array, w: Float32Array, every = 1) {
  const total = s.n * s.cout * s.ho * s.wo, taps = s.kh * s.kw, padX = s.padX ?? s.pad
  const at: number[] = [], want: number[] = [], scale: number[] = []
  for (let i = 0; i < total; i += every) {
    const ox = i % s.wo, oy = Math.floor(i / s.wo) % s.ho, co = Math.floor(i / s.wo / s.ho) % s.cout, n = Math.floor(i / s.wo / s.ho / s.cout)
    let sum = 0, abs = 0
    for (let ci = 0; ci < s.cin; ci++) for (let ky = 0; ky < s.kh; ky++) for (let kx = 0; kx < s.kw; kx++) {
      const iy = oy * s.stride - s.pad + ky, ix = ox * s.stride - padX + kx
      if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue
      const a = x[((n * s.cin + ci) * s.h + iy) * s.w + ix]!
      const tap = ky * s.kw + kx
      const b = s.transposed ? w[(ci * s.cout + co) * taps + taps - 1 - tap]! : w[(co * s.cin + ci) * taps + tap]!
      sum += a * b; abs += Math.abs(a * b)
    }
    at.push(i); want.push(sum); scale.push(abs)
  }
  /** Largest |y − want| / Σ|a||b|. */
  const error = (y: Float32Array, add: (i: number) => number = () => 0) => {
    let worst = 0
    for (let j = 0; j < at.length; j++) {
      const e = Math.abs(y[at[j]!]! - want[j]! - add(at[j]!)) / (scale[j]! + Math.abs(add(at[j]!)) + 1e-30)
      if (!(e <= worst)) worst = e
    }
    return worst
  }
  return { error }
}
