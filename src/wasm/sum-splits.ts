/** Adds partial sums in order: target[i] = Σ over s of parts[s][i], four at a time. */
@unmanaged
class SumSplitsParams {
  target: usize
  parts: usize
  count: i32
  splits: i32
  /** Elements a chunk. */
  each: i32
}

export function sumSplits(params: usize, chunk: i32, scratch: usize): void {
  const p = changetype<SumSplitsParams>(params)
  const step = <usize>p.count << 2
  const end = min(p.count, (chunk + 1) * p.each)
  let i = chunk * p.each
  for (; i + 4 <= end; i += 4) {
    let at = p.parts + (<usize>i << 2)
    let sum = v128.load(at)
    for (let s = 1; s < p.splits; s++) {
      at += step
      sum = f32x4.add(sum, v128.load(at))
    }
    v128.store(p.target + (<usize>i << 2), sum)
  }
  for (; i < end; i++) {
    let at = p.parts + (<usize>i << 2)
    let sum = load<f32>(at)
    for (let s = 1; s < p.splits; s++) {
      at += step
      sum += load<f32>(at)
    }
    store<f32>(p.target + (<usize>i << 2), sum)
  }
}
