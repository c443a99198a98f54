/**
 * Between images of bytes and what pages show: ImageData and canvases. The types name what is used of the web's, so
 * that nobody needs its declarations to compile; in a page they are the web's own.
 */
import { TweedieError, unexpected } from '../errors.ts'
import { checkImage, type Image } from './image.ts'

/** What an ImageData is made of: rows of red, green, blue and alpha. */
export interface Pixels {
  readonly width: number
  readonly height: number
  readonly data: Uint8ClampedArray<ArrayBuffer>
  readonly colorSpace: 'srgb'
}

/** `ImageData` where the program's types have it, else the fields of one. */
export type ImageDataOf = typeof globalThis extends { ImageData: { prototype: infer T } } ? T : Pixels

/** A canvas of a page or a worker (HTMLCanvasElement, OffscreenCanvas), or one of Node's packages for it. */
export interface Canvas {
  width: number
  height: number
  // Of the web's many contexts the one asked for; its type would have to be the web's.
  getContext(kind: '2d'): unknown
}

/** What is used of a canvas's context. */
interface Context {
  putImageData(pixels: ImageDataOf, x: number, y: number): void
  getImageData(x: number, y: number, width: number, height: number): Pixels
}

/**
 * The image as `ImageData`, opaque, grey as three equal colours: for `putImageData` and `createImageBitmap`. Where
 * there is no ImageData (Node) it is an object with the same fields.
 *
 * @throws TweedieError 'option' for what is no image
 */
export function imageDataOf(image: Image): ImageDataOf {
  checkImage('imageDataOf', image)
  const { width, height, channels, data } = image
  const out = new Uint8ClampedArray(4 * width * height)
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) out[4 * i + c] = data[channels === 1 ? i : 3 * i + c]
    out[4 * i + 3] = 255
  }
  const { ImageData } = globalThis as {
    ImageData?: new (data: Uint8ClampedArray<ArrayBuffer>, width: number, height: number) => object
  }
  return (
    ImageData ? new ImageData(out, width, height) : { width, height, data: out, colorSpace: 'srgb' }
  ) as ImageDataOf
}

/**
 * Draws the image, pixel for pixel, onto a canvas, which takes its size. To enlarge it give the canvas a size in CSS,
 * with `image-rendering: pixelated`.
 *
 * @throws TweedieError 'option' for what is no canvas or no image, and for a canvas that gives no 2d context
 */
export function drawImage(canvas: Canvas, image: Image): void {
  checkImage('drawImage', image)
  if (typeof canvas?.getContext !== 'function') throw unexpected('drawImage', 'a canvas', canvas)
  canvas.width = image.width
  canvas.height = image.height
  contextOf(canvas).putImageData(imageDataOf(image), 0, 0)
}

/**
 * The pixels of an ImageData or of a canvas as a colour image; alpha is ignored, as PIL's conversion to RGB
 * does. Whatever else a page can draw comes by a canvas, and files of PNG and JPEG by `decodeImage`, the
 * same bytes everywhere.
 *
 * ```ts
 * const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight)
 * canvas.getContext('2d').drawImage(video, 0, 0)
 * const values = batchOf([imageFrom(canvas)], { size: 64, channels: 3 })
 * ```
 *
 * @throws TweedieError 'option' for what is neither, and for a canvas that gives no 2d context
 */
export function imageFrom(source: Canvas | Omit<Pixels, 'colorSpace'>): Image {
  if (typeof source !== 'object' || source === null) throw unexpected('imageFrom', 'an ImageData or a canvas', source)
  const { width, height, data } =
    'getContext' in source ? contextOf(source).getImageData(0, 0, source.width, source.height) : source
  if (data?.length !== 4 * width * height) {
    throw new TweedieError(
      'option',
      'imageFrom: expected an ImageData or a canvas, found ' +
        `${data ? `${data.length} bytes for ${width} x ${height} pixels` : 'something else'}. ` +
        'Draw it onto a canvas first.',
    )
  }
  const out = new Uint8Array(3 * width * height)
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 3; c++) out[3 * i + c] = data[4 * i + c]
  return { width, height, channels: 3, data: out }
}

function contextOf(canvas: Canvas): Context {
  const context = canvas.getContext('2d') as Context | null
  if (!context)
    throw new TweedieError(
      'option',
      'The canvas gives no 2d context, because it has one of another kind. Use a canvas of its own.',
    )
  return context
}
