/** Opens a set of images by its path: the kind is told from the file's first bytes. */
import { TweedieError } from '../errors.ts'
import { openFile } from '../io/file.node.ts'
import type { ImageSet } from './image-set.ts'
import { openNpz } from './npz.ts'

export interface OpenImagesOptions {
  readonly signal?: AbortSignal
}

/** @example const cells = await openImages('bccd_cells_32.npz') */
export async function openImages(path: string, { signal }: OpenImagesOptions = {}): Promise<ImageSet> {
  const source = await openFile(path)
  try {
    const start = await source.read(0, Math.min(4, source.size), signal)
    if (start[0] === 0x50 && start[1] === 0x4b) return await openNpz(source, signal)
  } finally {
    await source.close()
  }
  throw new TweedieError('format', `${path}: not a .npz.`)
}
