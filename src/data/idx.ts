import { TweedieError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { sha256OfBytes } from '../io/sha256.ts'
import { checkBytes, imageArrays, type ImageSet } from './image-set.ts'

export const isGzip = (start: Uint8Array): boolean => start[0] === 0x1f && start[1] === 0x8b
export const isIdx = (start: Uint8Array): boolean => start[0] === 0 && start[1] === 0 && start[2] >= 8 && start[2] <= 14

/**
 * The IDX files of MNIST and its kin, also gzipped, as a set of grey images and, if given, their labels: bytes,
 * [N, H, W] for images and [N] for labels, big-endian.
 *
 * @throws TweedieError 'format', naming the file, for what is broken or does not fit
 */
export async function openIdx(images: ByteSource, labels?: ByteSource, signal?: AbortSignal): Promise<ImageSet> {
  const pictures = await readIdx(images, 3, signal)
  const classes = labels && (await readIdx(labels, 1, signal))
  const [, height, width] = pictures.shape
  return imageArrays({
    name: images.name,
    data: pictures.data,
    width,
    height,
    channels: 1,
    fingerprint: await sha256OfBytes(pictures.file, ...(classes ? [classes.file] : [])),
    ...(classes && { labels: classes.data }),
  })
}

/** Where the labels of `train-images-idx3-ubyte.gz` may lie, likeliest first; none for a name without "images". */
export function labelFiles(images: string): string[] {
  const name = images.split(/[\\/]/).at(-1)!
  if (!name.includes('images')) return []
  const folder = images.slice(0, images.length - name.length)
  const labels = folder + name.replace('images', 'labels').replace('idx3', 'idx1')
  return [labels, labels.endsWith('.gz') ? labels.slice(0, -3) : `${labels}.gz`]
}

async function readIdx(
  source: ByteSource,
  rank: number,
  signal?: AbortSignal,
): Promise<{ shape: number[]; data: Uint8Array; file: Uint8Array<ArrayBuffer> }> {
  const wrong = (message: string, cause?: unknown): never => {
    throw new TweedieError('format', `${source.name}: ${message}`, { cause })
  }
  checkBytes(source.name, source.size)
  const file = await source.read(0, source.size, signal)
  const bytes = isGzip(file)
    ? await gunzip(file).catch((cause: unknown) => wrong('a damaged gzip file. Get it again.', cause))
    : file
  if (!isIdx(bytes) || bytes.length < 4 + 4 * bytes[3]) wrong('not an IDX file, as MNIST has them.')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const shape = Array.from({ length: bytes[3] }, (_, i) => view.getUint32(4 + 4 * i))
  if (bytes[2] !== 8 || bytes[3] !== rank) {
    wrong(
      `expected bytes of ${rank} dimension${rank === 1 ? ' (labels)' : 's (images)'}, found type ${bytes[2]} of ` +
        `${bytes[3]}${rank === 3 && bytes[3] === 1 ? ': these are labels, name the file of images' : ''}.`,
    )
  }
  const data = bytes.subarray(4 + 4 * rank)
  const count = shape.reduce((a, b) => a * b, 1)
  if (data.length !== count)
    wrong(`a damaged file: expected ${count} bytes for [${shape.join(', ')}], found ${data.length}.`)
  return { shape, data, file }
}

const gunzip = async (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> =>
  new Uint8Array(
    await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer(),
  )
