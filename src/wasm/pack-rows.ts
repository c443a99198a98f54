/**
 * Rows that are contiguous in k become a panel in which k follows k: blocks of 4 rows by 4 are transposed in registers.
 */

/** [rows][k], `rowStep` bytes from row to row, becomes [k][height]; lanes beyond `rows` are left as they are. */
export function packRows(source: usize, target: usize, rows: i32, height: i32, k: i32, rowStep: usize): void {
  const step = <usize>height << 2
  let r = 0
  for (; r + 4 <= rows; r += 4) {
    let at = source + <usize>r * rowStep
    let to = target + (<usize>r << 2)
    let i = 0
    for (; i + 4 <= k; i += 4) {
      const r0 = v128.load(at)
      const r1 = v128.load(at + rowStep)
      const r2 = v128.load(at + 2 * rowStep)
      const r3 = v128.load(at + 3 * rowStep)
      const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5)
      const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5)
      const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7)
      const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7)
      v128.store(to, v128.shuffle<f64>(low01, low23, 0, 2))
      v128.store(to + step, v128.shuffle<f64>(low01, low23, 1, 3))
      v128.store(to + 2 * step, v128.shuffle<f64>(high01, high23, 0, 2))
      v128.store(to + 3 * step, v128.shuffle<f64>(high01, high23, 1, 3))
      at += 16
      to += 4 * step
    }
    for (; i < k; i++) {
      store<f32>(to, load<f32>(at))
      store<f32>(to, load<f32>(at + rowStep), 4)
      store<f32>(to, load<f32>(at + 2 * rowStep), 8)
      store<f32>(to, load<f32>(at + 3 * rowStep), 12)
      at += 4
      to += step
    }
  }
  for (; r + 2 <= rows; r += 2) {
    let at = source + <usize>r * rowStep
    let to = target + (<usize>r << 2)
    let i = 0
    for (; i + 4 <= k; i += 4) {
      const r0 = v128.load(at)
      const r1 = v128.load(at + rowStep)
      const low = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5)
      const high = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7)
      v128.store64_lane(to, low, 0)
      v128.store64_lane(to + step, low, 1)
      v128.store64_lane(to + 2 * step, high, 0)
      v128.store64_lane(to + 3 * step, high, 1)
      at += 16
      to += 4 * step
    }
    for (; i < k; i++) {
      store<f32>(to, load<f32>(at))
      store<f32>(to, load<f32>(at + rowStep), 4)
      at += 4
      to += step
    }
  }
  for (; r < rows; r++) {
    let at = source + <usize>r * rowStep
    let to = target + (<usize>r << 2)
    for (let i = 0; i < k; i++) {
      store<f32>(to, load<f32>(at))
      at += 4
      to += step
    }
  }
}
