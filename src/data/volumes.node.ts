/**
 * A folder of NIfTI volumes, or one, as a set of images: every slice across the third axis, see {@link sliceOf}. The
 * columns `volume` and `slice` have the number of the file and the position in it, from 0: a selection takes positions
 * (`tweedie select --slices 60-79`) and holds out whole volumes (`--by volume`). Opening reads every file once, for its
 * hash; slices that are read are kept while they fit into 256 MiB.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, TweedieError } from '../errors.ts'
import { atMost } from './at-most.ts'
import { gunzip } from './gunzip.ts'
import { isGzip } from './idx.ts'
import type { Image } from './image.ts'
import type { ImageSet } from './image-set.ts'
import { headerBytes, sliceOf, volumeHeader, type VolumeHeader } from './volume.ts'

export const isVolume = (name: string): boolean => /\.nii(\.gz)?$/i.test(name)

const cacheBytes = 2 ** 28
/** Whole volumes kept: slices are mostly asked for one after another. */
const kept = 2
/** A volume's values and its header, in bytes. */
const mostBytes = 2 ** 31 - 1

/** Opens the volumes `names` in `folder`, or that file alone where it is one. */
export async function openVolumes(
  path: string,
  names: readonly string[],
  labels: { readonly labels?: Int32Array; readonly classes?: readonly string[] },
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void },
): Promise<ImageSet> {
  const placeOf = (volume: number): string => (names[volume] === '' ? path : join(path, names[volume]))
  const headers: VolumeHeader[] = []
  const hash = createHash('sha256')
  const bytesOf = async (volume: number, most: number): Promise<{ file: Uint8Array; bytes: Uint8Array }> => {
    signal?.throwIfAborted()
    const name = placeOf(volume)
    const file = await readFile(name).catch((cause: unknown) => {
      throw new TweedieError('option', `cannot read ${name}: ${messageOf(cause)}`, { cause })
    })
    return { file, bytes: isGzip(file) ? await gunzip(file, name, most) : file }
  }
  const positions: { volume: number; slice: number }[] = []
  for (const volume of names.keys()) {
    const { file, bytes } = await bytesOf(volume, headerBytes)
    headers.push(volumeHeader(bytes, placeOf(volume)))
    hash.update(`${names[volume]}\0${createHash('sha256').update(file).digest('hex')}\n`)
    for (let slice = 0; slice < headers[volume].slices; slice++) positions.push({ volume, slice })
    onProgress?.(volume + 1, names.length)
  }
  const volumes = new Map<number, Uint8Array>()
  const cache = new Map<number, Image>()
  let cached = 0
  const oneByOne = atMost(1)
  const nameOf = (index: number): string => {
    const { volume, slice } = positions[index]
    return `${names[volume] === '' ? path : names[volume]}/${String(slice).padStart(3, '0')}`
  }
  return {
    name: path,
    length: positions.length,
    channels: 1,
    ...(labels.labels && {
      labels: Int32Array.from(positions, ({ volume }) => labels.labels![volume]),
      classes: labels.classes,
    }),
    columns: new Map([
      ['volume', positions.map(({ volume }) => volume)],
      ['slice', positions.map(({ slice }) => slice)],
    ]),
    notes: [],
    fingerprint: hash.digest('hex'),
    imageName: nameOf,
    sizeOf(index) {
      const { width, height } = headers[positions[index].volume]
      return { width, height }
    },
    read: (index, signal) =>
      oneByOne(async () => {
        signal?.throwIfAborted()
        const found = cache.get(index)
        if (found) return found
        const { volume, slice } = positions[index]
        const header = headers[volume]
        let bytes = volumes.get(volume)
        if (!bytes) {
          const { width, height, slices, offset, bytes: each } = header
          bytes = (await bytesOf(volume, Math.min(mostBytes, offset + width * height * slices * each))).bytes
          if (volumes.size === kept) volumes.delete(volumes.keys().next().value!)
          volumes.set(volume, bytes)
        }
        const image = sliceOf(header, bytes, slice, placeOf(volume))
        if (cached + image.data.length <= cacheBytes) {
          cache.set(index, image)
          cached += image.data.length
        }
        return image
      }),
  }
}
