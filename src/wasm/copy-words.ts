/** Copies 32-bit words from one place to another that does not overlap it. */
@unmanaged
class CopyWordsParams {
  target: usize
  source: usize
  words: i32
  /** Words a chunk. */
  each: i32
}

export function copyWords(p: CopyWordsParams, chunk: i32, scratch: usize): void {
  const from = chunk * p.each
  const offset = <usize>from << 2
  memory.copy(p.target + offset, p.source + offset, <usize>min(p.each, p.words - from) << 2)
}
