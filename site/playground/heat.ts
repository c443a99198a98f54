/** Where guidance pushed, as a picture: one colour, the more of it the further. */

/**
 * RGBA of a heat map, [H * W * 4]: transparent where guidance did nothing, opaque at `most`. Orange is told from grey
 * and from both themes' grounds, also by people who do not see red. It grows with the root, so that the small pushes of
 * the last steps are seen beside those of the first.
 */
export function heatOf(push: Float32Array, most: number): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(4 * push.length)
  push.forEach((value, i) => out.set([255, 120, 0, most > 0 ? 255 * Math.sqrt(value / most) : 0], 4 * i))
  return out
}

/** The furthest that any picture of these was moved at any pixel. */
export const mostOf = (pushes: readonly Float32Array[]): number =>
  pushes.reduce((most, push) => push.reduce((a, b) => Math.max(a, b), most), 0)
