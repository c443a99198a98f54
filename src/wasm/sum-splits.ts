/**
 * Adds the parts of a weights' gradient in order and puts the sums into the weights' order: from [split][cout][group of
 * 4 input channels][tap][4] to [cout][cin][tap]. A chunk is some output channels.
 */
@unmanaged
class SumSplitsParams {
  target: usize
  parts: usize
  splits: i32
  cout: i32
  cin: i32
  taps: i32
  /** Output channels a chunk. */
  each: i32
}

export function sumSplits(p: SumSplitsParams, chunk: i32, scratch: usize): void {
  const groups = (p.cin + 3) >> 2
  const rowBytes = <usize>(groups * p.taps) << 4
  const partBytes = rowBytes * p.cout
  const channelBytes = <usize>p.taps << 2
  const end = min(p.cout, (chunk + 1) * p.each)
  for (let co = chunk * p.each; co < end; co++) {
    let from = p.parts + rowBytes * co
    for (let group = 0; group < groups; group++) {
      const channels = min(4, p.cin - group * 4)
      let to = p.target + <usize>(co * p.cin + group * 4) * channelBytes
      for (let tap = 0; tap < p.taps; tap++) {
        let at = from
        let sum = v128.load(at)
        for (let s = 1; s < p.splits; s++) {
          at += partBytes
          sum = f32x4.add(sum, v128.load(at))
        }
        store<f32>(to, f32x4.extract_lane(sum, 0))
        if (channels > 1) store<f32>(to + channelBytes, f32x4.extract_lane(sum, 1))
        if (channels > 2) store<f32>(to + 2 * channelBytes, f32x4.extract_lane(sum, 2))
        if (channels > 3) store<f32>(to + 3 * channelBytes, f32x4.extract_lane(sum, 3))
        from += 16
        to += 4
      }
    }
  }
}
