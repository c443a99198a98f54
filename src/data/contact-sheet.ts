/** All samples of a run in one picture, pixels enlarged without smoothing. */
import type { Image } from './image.ts'

/** Space between pictures, white. */
const gap = 4
/** Most pixels of the sheet of a run: 4096 x 4096. */
const most = 2 ** 24

/** Pixels are enlarged so many times, to a side of 64 or more. */
const scaleOf = ({ width, height }: Pick<Image, 'width' | 'height'>): number =>
  Math.max(1, Math.ceil(64 / Math.max(width, height)))

/** How many pictures of this size the sheet of a run shows: 3,628 of 32 x 32, 248 of 256 x 256. */
export function sheetRoom(image: Pick<Image, 'width' | 'height'>): number {
  const scale = scaleOf(image)
  return Math.max(1, Math.floor(most / ((image.width * scale + gap) * (image.height * scale + gap))))
}

/**
 * `columns` defaults to a sheet about as wide as high; images of fewer than 64 pixels are enlarged to at least that.
 */
export function contactSheet(images: readonly Image[], columns = Math.ceil(Math.sqrt(images.length))): Image {
  const { width, height, channels } = images[0]
  const scale = scaleOf(images[0])
  const [cellWidth, cellHeight] = [width * scale + gap, height * scale + gap]
  const sheetWidth = gap + columns * cellWidth
  const sheetHeight = gap + Math.ceil(images.length / columns) * cellHeight
  const data = new Uint8Array(sheetWidth * sheetHeight * channels).fill(255)
  images.forEach((image, k) => {
    const left = gap + (k % columns) * cellWidth
    const top = gap + Math.floor(k / columns) * cellHeight
    for (let y = 0; y < height * scale; y++) {
      for (let x = 0; x < width * scale; x++) {
        const from = (Math.floor(y / scale) * width + Math.floor(x / scale)) * channels
        const to = ((top + y) * sheetWidth + left + x) * channels
        for (let c = 0; c < channels; c++) data[to + c] = image.data[from + c]
      }
    }
  })
  return { width: sheetWidth, height: sheetHeight, channels, data }
}

/**
 * The pictures of `side` pixels that {@link contactSheet} made this sheet of, to the bit; null for any other picture. A
 * sheet has its size, white between its cells, and in every cell pixels that were enlarged.
 */
export function imagesOfSheet(sheet: Image, side: number): Image[] | null {
  const scale = scaleOf({ width: side, height: side })
  const cell = side * scale + gap
  const [columns, rows] = [(sheet.width - gap) / cell, (sheet.height - gap) / cell]
  if (!(Number.isInteger(columns) && Number.isInteger(rows) && columns > 0 && rows > 0)) return null
  const { width, channels, data } = sheet
  const cells = Array.from({ length: columns * rows }, () => new Uint8Array(side * side * channels))
  for (let y = 0; y < sheet.height; y++) {
    for (let x = 0; x < width; x++) {
      const [inX, inY] = [(x % cell) - gap, (y % cell) - gap]
      const between = inX < 0 || inY < 0
      const [pixelX, pixelY] = [Math.floor(inX / scale), Math.floor(inY / scale)]
      const image = cells[Math.floor(y / cell) * columns + Math.floor(x / cell)]
      for (let c = 0; c < channels; c++) {
        const value = data[(y * width + x) * channels + c]
        const at = (pixelY * side + pixelX) * channels + c
        // The first pixel of those that were enlarged is the picture's.
        if (!between && inX % scale === 0 && inY % scale === 0) image[at] = value
        else if (value !== (between ? 255 : image[at])) return null
      }
    }
  }
  // The last row may not be full.
  while (cells.length > 0 && cells.at(-1)!.every((value) => value === 255)) cells.pop()
  return cells.length === 0 ? null : cells.map((data) => ({ width: side, height: side, channels, data }))
}
