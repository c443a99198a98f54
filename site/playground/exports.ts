/** What can be taken away: PNG files, a contact sheet, all of it as one archive. What makes them is loaded then. */
import type { Image } from 'tweedie/data'

/** A picture's bytes, as the library has them: opaque, and of one channel where the model is grey. */
function imageOf(bitmap: ImageBitmap, channels: number): Image {
  const { width, height } = bitmap
  const context = new OffscreenCanvas(width, height).getContext('2d')!
  context.drawImage(bitmap, 0, 0)
  const pixels = context.getImageData(0, 0, width, height).data
  const kept = channels === 1 ? 1 : 3
  const data = new Uint8Array(width * height * kept)
  for (let i = 0; i < width * height; i++) for (let c = 0; c < kept; c++) data[kept * i + c] = pixels[4 * i + c]
  return { width, height, channels: kept, data }
}

/** The PNG of a picture: the bytes that Node writes. */
export async function pngOf(bitmap: ImageBitmap, channels: number): Promise<Uint8Array<ArrayBuffer>> {
  const { encodePng } = await import('tweedie/data')
  return encodePng(imageOf(bitmap, channels))
}

/** A picture that a visitor has, as files that are scored, and what is done to it before. */
export interface Given {
  readonly files: readonly File[]
  /** Empty where nothing is. */
  readonly note: string
}

/**
 * The pictures of a contact sheet, as {@link sheetOf} and the command line make it, of a model of `side` pixels; any
 * other picture as it is. What the browser cannot read is left to who scores it.
 */
export async function picturesIn(file: File, side: number): Promise<Given> {
  const bitmap = await createImageBitmap(file).catch(() => null)
  if (!bitmap) return { files: [file], note: '' }
  const { width, height } = bitmap
  const { encodePng, imagesOfSheet } = await import('tweedie/data')
  // A picture that is too small for a sheet need not be read.
  const images = Math.min(width, height) > side ? imagesOfSheet(imageOf(bitmap, 3), side) : null
  bitmap.close()
  if (images) {
    const named = (k: number): string => `${file.name}, picture ${k + 1}`
    return { files: images.map((image, k) => new File([encodePng(image)], named(k), { type: 'image/png' })), note: '' }
  }
  if (width === side && height === side) return { files: [file], note: '' }
  const cut = width === height ? '' : `, of which the middle square is taken`
  return { files: [file], note: `${width} × ${height}${cut}, scaled to ${side} × ${side}` }
}

/** All pictures as one, a row an arm where a row has room for it. */
export async function sheetOf(
  arms: readonly (readonly ImageBitmap[])[],
  channels: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const { contactSheet, encodePng } = await import('tweedie/data')
  const images = arms.flat().map((bitmap) => imageOf(bitmap, channels))
  return encodePng(contactSheet(images, Math.min(8, arms[0].length)))
}

/** Files as one archive, uncompressed: PNG is that already. */
export async function zipOf(files: Readonly<Record<string, Uint8Array>>): Promise<Uint8Array<ArrayBuffer>> {
  const { zipSync } = await import('fflate')
  return zipSync({ ...files }, { level: 0 }) as Uint8Array<ArrayBuffer>
}

/** Gives a file to the visitor. */
export function save(name: string, bytes: Uint8Array<ArrayBuffer> | string, type: string): void {
  const url = URL.createObjectURL(new Blob([bytes], { type }))
  Object.assign(document.createElement('a'), { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
