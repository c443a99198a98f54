/** Samples as the evaluators of the field read them: guided-diffusion's samples_NxHxWx3.npz. */
import { encodeZip } from '../io/zip-writer.ts'
import { withChannels, type Image } from './image.ts'
import { npyHeader } from './npy.ts'

/** The images of {@link encodeSamplesNpz}. */
export interface SamplesOfNpz {
  readonly count: number
  readonly width: number
  readonly height: number
  /** One after another; grey ones become colour. */
  readonly images: AsyncIterable<Image>
  /** The class of each; absent: none. */
  readonly labels?: readonly number[]
  /** Of the archive. */
  readonly comment?: string
}

/**
 * The bytes of an `.npz` of images, one image after another: `arr_0`, uint8 [N, H, W, 3], and where there are classes
 * `arr_1`, int64 [N] (guided-diffusion image_sample.py). Nothing but an image is held, and it may be of any size.
 */
export function encodeSamplesNpz({
  count,
  width,
  height,
  images,
  labels,
  comment,
}: SamplesOfNpz): AsyncGenerator<Uint8Array> {
  const shape = [count, height, width, 3]
  const head = npyHeader('|u1', shape)
  async function* pixels(): AsyncGenerator<Uint8Array> {
    yield head
    for await (const image of images) yield withChannels(image, 3).data
  }
  const classes = labels && joinLabels(labels)
  return encodeZip(
    [
      { name: 'arr_0.npy', size: head.length + shape.reduce((a, b) => a * b, 1), chunks: pixels() },
      ...(classes
        ? [{ name: 'arr_1.npy', size: classes.reduce((sum, { length }) => sum + length, 0), chunks: classes }]
        : []),
    ],
    comment,
  )
}

function joinLabels(labels: readonly number[]): Uint8Array[] {
  const bytes = new Uint8Array(8 * labels.length)
  const view = new DataView(bytes.buffer)
  labels.forEach((label, k) => view.setBigInt64(8 * k, BigInt(label), true))
  return [npyHeader('<i8', [labels.length]), bytes]
}
