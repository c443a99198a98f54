import { TweedieError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { sha256OfBytes } from '../io/sha256.ts'
import { gunzip } from './gunzip.ts'
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
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${source.name}: ${message}`)
  }
  checkBytes(source.name, source.size)
  const file = await source.read(0, source.size, signal)
  const zipped = isGzip(file)
  const start = zipped ? await gunzip(file, source.name, 256, signal) : file.subarray(0, 256)
  if (!isIdx(start) || start.length < 4 + 4 * start[3]) wrong('not an IDX file, as MNIST has them.')
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength)
  const shape = Array.from({ length: start[3] }, (_, i) => view.getUint32(4 + 4 * i))
  if (start[2] !== 8 || start[3] !== rank) {
    wrong(
      `expected bytes of ${rank} dimension${rank === 1 ? ' (labels)' : 's (images)'}, found type ${start[2]} of ` +
        `${start[3]}${rank === 3 && start[3] === 1 ? ': these are labels, name the file of images' : ''}.`,
    )
  }
  const count = shape.reduce((a, b) => a * b, 1)
  checkBytes(source.name, count)
  // Digits are gzipped to a fifth; deflate's most, 1032 times, is no pictures.
  if (zipped && count > 2 ** 26 && count > 200 * file.length)
    wrong(`expected pictures that gzip makes at most 200 times smaller, found ${count} bytes in ${file.length}.`)
  const begin = 4 + 4 * rank
  const data = (zipped ? await gunzip(file, source.name, begin + count + 1, signal) : file).subarray(begin)
  if (data.length !== count) {
    const found = data.length > count ? 'more' : data.length
    wrong(`a damaged file: expected ${count} bytes for [${shape.join(', ')}], found ${found}.`)
  }
  return { shape, data, file }
}
