import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { TweedieError } from '../errors.ts'
import { openFile, pathOf } from '../io/file.node.ts'
import { isJpeg } from './jpeg.ts'
import { cifarNames } from './cifar.ts'
import { openCifar, openFolder, type OpenImagesOptions } from './folder.node.ts'
import { isGzip, isIdx, labelFiles, openIdx } from './idx.ts'
import type { ImageSet } from './image-set.ts'
import { openNpy, openNpz } from './npz.ts'
import { isVolume, openVolumes } from './volumes.node.ts'
import { isPng } from './png.ts'

/**
 * Opens a set of images by its path: a folder of PNG and JPEG files or of NIfTI volumes, an `.npz` or `.npy`, CIFAR's
 * batches, or an IDX file of images (gzipped or not; its labels are found beside it by name, `images` being
 * `labels` there). The kind of a file is told from its
 * first bytes. Of a folder only the beginnings of its files are decoded; the others are read whole.
 *
 * @example
 * const cells = await openImages('bccd_cells_32.npz')
 * const { images } = await trainingBatch(cells, 0, 32, { size: 32, channels: 3, augment: 'symmetries', seed: 1 })
 *
 * @throws TweedieError 'option' for what cannot be read or holds no image; 'format', naming the file, for what is
 *   damaged
 */
export async function openImages(where: string | URL, options: OpenImagesOptions = {}): Promise<ImageSet> {
  const path = pathOf(where)
  const { classesBy, signal } = options
  if ((await stat(path).catch(() => undefined))?.isDirectory()) return openFolder(path, options)
  if (classesBy !== undefined && classesBy !== 'none')
    throw new TweedieError('option', `${path}: classes by ${classesBy} are for a folder of images, and this is a file.`)
  const source = await openFile(path)
  try {
    const start = await source.read(0, Math.min(8, source.size), signal)
    if (start[0] === 0x50 && start[1] === 0x4b) return await openNpz(source, signal)
    if (String.fromCharCode(...start.subarray(1, 6)) === 'NUMPY') return await openNpy(source, signal)
    if (isVolume(path)) return await openVolumes(path, [''], {}, options)
    if (cifarNames(basename(path))) return await openCifar([path], path)
    if (isIdx(start) || isGzip(start)) return await openWithLabels(path, signal)
    if (isPng(start) || isJpeg(start))
      throw new TweedieError('option', `${path}: a single image. Name the folder of images it lies in.`)
    throw new TweedieError(
      'format',
      `${path}: expected a folder of PNG or JPEG files, an .npz or .npy, an IDX file, a NIfTI volume or batches ` +
        'of CIFAR, found none of these.',
    )
  } finally {
    await source.close()
  }
}

async function openWithLabels(path: string, signal?: AbortSignal): Promise<ImageSet> {
  const images = await openFile(path)
  try {
    for (const name of labelFiles(path)) {
      if (!(await stat(name).catch(() => undefined))?.isFile()) continue
      const labels = await openFile(name)
      try {
        return await openIdx(images, labels, signal)
      } finally {
        await labels.close()
      }
    }
    return await openIdx(images, undefined, signal)
  } finally {
    await images.close()
  }
}
