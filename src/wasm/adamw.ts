/**
 * One update of AdamW in place, and one of an average, over tensors that lie one after another; the formulas are in
 * `src/tensor/ops/adamw.ts`. A chunk is a run of elements, each of which is read and written once.
 */
@unmanaged
class AdamWParams {
  w: usize
  m: usize
  v: usize
  g: usize
  /** Where the gradient's factor is; 0: it has none. */
  factor: usize
  count: i32
  /** Elements a chunk, a multiple of 4. */
  each: i32
  decay: f32
  rate: f32
  correction: f32
  eps: f32
  beta1: f32
  rest1: f32
  beta2: f32
  rest2: f32
}

export function adamW(p: AdamWParams, chunk: i32, scratch: usize): void {
  const first = <usize>(chunk * p.each) << 2
  const end = <usize>min((chunk + 1) * p.each, p.count) << 2
  const whole = end & ~15
  const w = p.w, m = p.m, v = p.v, g = p.g
  const factor: f32 = p.factor ? load<f32>(p.factor) : 1
  let at = first
  if (at < whole) {
    const f4 = f32x4.splat(factor), decay = f32x4.splat(p.decay), rate = f32x4.splat(p.rate)
    const correction = f32x4.splat(p.correction), eps = f32x4.splat(p.eps)
    const beta1 = f32x4.splat(p.beta1), rest1 = f32x4.splat(p.rest1)
    const beta2 = f32x4.splat(p.beta2), rest2 = f32x4.splat(p.rest2)
    do {
      const slope = f32x4.mul(v128.load(g + at), f4)
      const mean = f32x4.add(f32x4.mul(beta1, v128.load(m + at)), f32x4.mul(rest1, slope))
      const square = f32x4.add(f32x4.mul(beta2, v128.load(v + at)), f32x4.mul(f32x4.mul(rest2, slope), slope))
      const step = f32x4.div(mean, f32x4.add(f32x4.mul(f32x4.sqrt(square), correction), eps))
      v128.store(m + at, mean)
      v128.store(v + at, square)
      v128.store(w + at, f32x4.sub(f32x4.mul(v128.load(w + at), decay), f32x4.mul(rate, step)))
      at += 16
    } while (at < whole)
  }
  while (at < end) {
    const slope = load<f32>(g + at) * factor
    const mean = p.beta1 * load<f32>(m + at) + p.rest1 * slope
    const square = p.beta2 * load<f32>(v + at) + p.rest2 * slope * slope
    const step = mean / (sqrt<f32>(square) * p.correction + p.eps)
    store<f32>(m + at, mean)
    store<f32>(v + at, square)
    store<f32>(w + at, load<f32>(w + at) * p.decay - p.rate * step)
    at += 4
  }
}

@unmanaged
class MovingAverageParams {
  average: usize
  x: usize
  count: i32
  /** Elements a chunk, a multiple of 4. */
  each: i32
  keep: f32
  take: f32
}

/** average = keep · average + take · x. */
export function movingAverage(p: MovingAverageParams, chunk: i32, scratch: usize): void {
  const end = <usize>min((chunk + 1) * p.each, p.count) << 2
  const whole = end & ~15
  const average = p.average, x = p.x
  let at = <usize>(chunk * p.each) << 2
  if (at < whole) {
    const keep = f32x4.splat(p.keep), take = f32x4.splat(p.take)
    do {
      const kept = f32x4.mul(keep, v128.load(average + at))
      v128.store(average + at, f32x4.add(kept, f32x4.mul(take, v128.load(x + at))))
      at += 16
    } while (at < whole)
  }
  while (at < end) {
    store<f32>(average + at, p.keep * load<f32>(average + at) + p.take * load<f32>(x + at))
    at += 4
  }
}
