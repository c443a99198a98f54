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
