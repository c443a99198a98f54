/**
 * The sinusoidal timestep embedding, computed on the host: WGSL's sin and cos are only good to about 2^-11 and only
 * inside [-pi, pi], while a timestep reaches 999. Every step is rounded to float32 where the reference (nn.py,
 * `timestep_embedding`) rounds, since cos(900) moves with the last bit of its argument.
 */
import { TweedieError } from '../errors.ts'

/**
 * [N, dim], row-major: `cos(t f_k)` for k = 0..half-1, then `sin(t f_k)`, with `half = floor(dim / 2)` and
 * `f_k = maxPeriod^(-k / half)`; an odd `dim` ends in a column of zeros. Cosines come first, and the exponent is
 * divided by `half`, not `half - 1` as in DDPM and tensor2tensor.
 * @param timesteps N timesteps, as the network sees them (mapped and rescaled); fractions are allowed
 * @example timestepEmbedding([17.5], 8) // 0.2194, -0.1782, 0.9847, 0.9998, -0.9756, 0.9840, 0.1741, 0.0175
 */
export function timestepEmbedding(
  timesteps: ArrayLike<number>,
  dim: number,
  maxPeriod = 10000,
): Float32Array<ArrayBuffer> {
  if (!Number.isInteger(dim) || dim < 2) {
    throw new TweedieError('option', `a timestep embedding has at least 2 entries, found ${dim}`)
  }
  const half = Math.floor(dim / 2)
  const scale = Math.fround(-Math.log(maxPeriod))
  const frequencies = Float32Array.from({ length: half }, (_, k) =>
    Math.exp(Math.fround(Math.fround(scale * k) / half)),
  )
  const embedding = new Float32Array(timesteps.length * dim)
  for (let n = 0; n < timesteps.length; n++) {
    const t = Math.fround(timesteps[n])
    if (!Number.isFinite(t)) throw new TweedieError('non-finite', `timestep ${n} is ${timesteps[n]}`)
    for (let k = 0; k < half; k++) {
      const angle = Math.fround(t * frequencies[k])
      embedding[n * dim + k] = Math.cos(angle)
      embedding[n * dim + half + k] = Math.sin(angle)
    }
  }
  return embedding
}
