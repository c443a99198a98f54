/** Fills memory with one 32-bit word. */
@unmanaged
class FillParams {
  target: usize
  words: i32
  value: i32
  /** Words a chunk. */
  each: i32
}

export function fill(p: FillParams, chunk: i32, scratch: usize): void {
  const from = chunk * p.each
  const count = min(p.each, p.words - from)
  const end = p.target + (<usize>(from + count) << 2)
  let at = p.target + (<usize>from << 2)
  const value = i32x4.splat(p.value)
  while (at + 16 <= end) {
    v128.store(at, value)
    at += 16
  }
  while (at < end) {
    store<i32>(at, p.value)
    at += 4
  }
}
