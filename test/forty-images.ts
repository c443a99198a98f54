/**
 * A folder of pictures such as anyone has: discs of a few colours on a pale ground, every eighth another than the rest.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encode } from 'fast-png'

export interface Pictures {
  readonly count?: number
  /** Width and height of each, in turn. */
  readonly sizes?: readonly (readonly [width: number, height: number])[]
  readonly grey?: boolean
}

export function writePictures(folder: string, { count = 40, sizes = [[32, 32]], grey = false }: Pictures = {}): string {
  mkdirSync(folder, { recursive: true })
  for (let k = 0; k < count; k++) {
    const [width, height] = sizes[k % sizes.length]
    const channels = grey ? 1 : 3
    const rare = k % 8 === 7
    const [x, y, r] = [
      (0.4 + (0.2 * ((k * 7) % 11)) / 11) * width,
      (0.4 + (0.2 * ((k * 5) % 13)) / 13) * height,
      (0.25 + (0.1 * ((k * 3) % 7)) / 7) * Math.min(width, height),
    ]
    const inside = rare ? [90, 60, 170] : [200, 150 + ((k * 11) % 20), 150]
    const data = Uint8Array.from({ length: width * height * channels }, (_, i) => {
      const [px, py, c] = [Math.floor(i / channels) % width, Math.floor(i / channels / width), i % channels]
      const edge = Math.max(0, Math.min(1, r - Math.hypot(px - x, py - y) + 0.5))
      return 225 - 4 * c + edge * (inside[c] - 225 + 4 * c)
    })
    writeFileSync(
      join(folder, `${String(k).padStart(3, '0')}.png`),
      encode({ width, height, channels, depth: 8, data }),
    )
  }
  return folder
}

/** The command of docs/training.md, in words, without npx. */
export const commandIn = (markdown: string): string[] =>
  /```sh\nnpx (tweedie recipe images [^\n]*)\n```/.exec(markdown)![1].split(' ')
