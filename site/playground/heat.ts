/** Where guidance pushed, as a picture: one colour, the more of it the further. */

/**
 * RGBA of a heat map, [H * W * 4]: transparent where guidance did nothing, opaque at `most`. Orange is told from the
 * cells' pink and from both themes' grounds, also by people who do not see red.
 */
export function heatOf(push: Float32Array, most: number): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(4 * push.length)
  push.forEach((value, i) => out.set([230, 120, 0, most > 0 ? (255 * value) / most : 0], 4 * i))
  return out
}

/** The furthest that any picture of these was moved at any pixel. */
export const mostOf = (pushes: readonly Float32Array[]): number =>
  pushes.reduce((most, push) => push.reduce((a, b) => Math.max(a, b), most), 0)
