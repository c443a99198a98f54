import { hostRandomBits, splitSeed } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'

/** How far a random view may be from its picture: see {@link viewsOf}. */
export interface ViewOptions {
  /**
   * Which of the square's symmetries a view is under: none, left and right exchanged or not, or any of
   * the eight (default).
   */
  readonly augment: 'none' | 'flip' | 'symmetries'
  /** Smallest part of the picture's area that a view shows. Default 0.6. */
  readonly area: number
  /** Largest part. Default 1. */
  readonly areaMost?: number
  /** Largest change of brightness, of contrast and of each channel, for values in [-1, 1]. Default 0.03. */
  readonly jitter: number
  /** Share of views that are blurred (by 1 2 1 / 4 both ways). Default 0.25. */
  readonly blur: number
}

/** What views are like where nothing else is said. */
export const viewDefaults: ViewOptions = { augment: 'symmetries', area: 0.6, jitter: 0.03, blur: 0.25 }

/**
 * View number `view` of `images` [N, C, S, S], of which the first is image number `first` of the run: turned, a random
 * square of it resized to `side` (bilinear; default S), changed in brightness, contrast and colour, sometimes blurred.
 * A pure function of its arguments.
 *
 * For learning features by contrast (Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual
 * Representations"): what stays the same between two views is what the features should keep. Colours change by a little
 * only, since a distance that forgave them could not see our diffusion model's colour drift.
 */
export function viewsOf(
  images: Float32Array,
  channels: number,
  size: number,
  first: number,
  view: number,
  seed: number,
  { augment, area, areaMost = 1, jitter, blur }: ViewOptions = viewDefaults,
  side = size,
): Float32Array {
  const plane = side * side
  const count = images.length / (channels * size * size)
  const out = new Float32Array(count * channels * plane)
  const words = 16
  const bits = hostRandomBits(
    { seed: splitSeed(seed), draw: view, purpose: purposes.views },
    Array.from({ length: count }, (_, i) => first + i),
    words,
  )
  for (let n = 0; n < count; n++) {
    let next = n * words
    const uniform = (low = 0, high = 1): number => low + ((high - low) * (bits[next++] + 0.5)) / 2 ** 32
    const shown = size * Math.sqrt(uniform(area, areaMost))
    const [left, top] = [uniform(0, size - shown), uniform(0, size - shown)]
    const [flipX, flipY, swap] = [augment !== 'none', augment === 'symmetries', augment === 'symmetries'].map(
      (may) => uniform() < 0.5 && may,
    ) as [boolean, boolean, boolean]
    const blurred = uniform() < blur
    const [brightness, contrast] = [uniform(-jitter, jitter), 1 + uniform(-jitter, jitter)]
    const source = images.subarray(n * channels * size * size, (n + 1) * channels * size * size)
    const target = out.subarray(n * channels * plane, (n + 1) * channels * plane)
    crop(source, target, channels, size, side, { left, top, step: shown / side, flipX, flipY, swap })
    for (let c = 0; c < channels; c++) {
      const map = target.subarray(c * plane, (c + 1) * plane)
      const shift = brightness + (channels > 1 ? uniform(-jitter, jitter) : 0)
      if (blurred) blurPlane(map, side)
      for (let i = 0; i < plane; i++) map[i] = Math.min(1, Math.max(-1, contrast * map[i] + shift))
    }
  }
  return out
}

interface Crop {
  readonly left: number
  readonly top: number
  readonly step: number
  readonly flipX: boolean
  readonly flipY: boolean
  readonly swap: boolean
}

/** A square of `source`, of side `size`, on the whole of `target`, of `side`, turned; pixel centres at halves. */
function crop(
  source: Float32Array,
  target: Float32Array,
  channels: number,
  size: number,
  side: number,
  { left, top, step, flipX, flipY, swap }: Crop,
): void {
  const last = size - 1
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [u, v] = swap ? [y, x] : [x, y]
      const sx = Math.min(last, Math.max(0, left + ((flipX ? side - 1 - u : u) + 0.5) * step - 0.5))
      const sy = Math.min(last, Math.max(0, top + ((flipY ? side - 1 - v : v) + 0.5) * step - 0.5))
      const [x0, y0] = [Math.floor(sx), Math.floor(sy)]
      const [fx, fy] = [sx - x0, sy - y0]
      const right = x0 < last ? 1 : 0
      const below = y0 < last ? size : 0
      for (let c = 0; c < channels; c++) {
        const at = (c * size + y0) * size + x0
        const upper = source[at] * (1 - fx) + source[at + right] * fx
        const lower = source[at + below] * (1 - fx) + source[at + below + right] * fx
        target[(c * side + y) * side + x] = upper * (1 - fy) + lower * fy
      }
    }
  }
}

/** By 1 2 1 / 4 along both axes, edges repeated. */
function blurPlane(map: Float32Array, size: number): void {
  const along = (start: number, stride: number): void => {
    let before = map[start]
    for (let i = 0; i < size; i++) {
      const here = map[start + i * stride]
      const after = map[start + Math.min(i + 1, size - 1) * stride]
      map[start + i * stride] = (before + 2 * here + after) / 4
      before = here
    }
  }
  for (let i = 0; i < size; i++) along(i * size, 1)
  for (let i = 0; i < size; i++) along(i, size)
}
