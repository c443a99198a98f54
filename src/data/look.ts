import { TweedieError } from '../errors.ts'
import type { ImageSet } from './image-set.ts'

/** An image that could not be decoded, by its index in the set, and why not. */
export interface DamagedImage {
  readonly index: number
  readonly error: TweedieError
}

/** Images decoded at a time: reading one overlaps with decoding another. */
const atOnce = 16

/**
 * Decodes every image of a set that has a file, before a long job begins, so that a damaged one is not met in the
 * middle of it. Files that were decoded before and have not changed since are passed over; sets in memory were decoded
 * when they were opened. Resolves to those that cannot be decoded, in order; rejects only when aborted, or for a
 * defect.
 */
export async function lookThrough(
  set: Pick<ImageSet, 'files' | 'length' | 'read'>,
  {
    signal,
    onProgress,
  }: { readonly signal?: AbortSignal; readonly onProgress?: (done: number, total: number) => void } = {},
): Promise<DamagedImage[]> {
  const { files, length } = set
  if (!files) return []
  const damaged: DamagedImage[] = []
  let [next, done] = [0, 0]
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let index = next++; index < length; index = next++) {
        signal?.throwIfAborted()
        if (files[index] && !files[index].whole) {
          try {
            await set.read(index, signal)
          } catch (error) {
            signal?.throwIfAborted()
            if (!(error instanceof TweedieError)) throw error
            damaged.push({ index, error })
          }
        }
        onProgress?.(++done, length)
      }
    }),
  )
  return damaged.sort((a, b) => a.index - b.index)
}

/** The error that names them; that of a single one is its own. */
export function damagedImages(name: string, damaged: readonly DamagedImage[]): TweedieError {
  if (damaged.length === 1) return damaged[0].error
  return new TweedieError(
    'format',
    `${name}: ${damaged.length} images cannot be read. Replace or remove them, or leave them out with --skip-bad:` +
      damagedLines(damaged),
  )
}

/** So many are named, a line each; a folder of another kind of files may have a million. */
const named = 50

/** What is wrong with each, a line for each of the first {@link named}. */
export function damagedLines(damaged: readonly DamagedImage[]): string {
  const lines = damaged.slice(0, named).map(({ error }) => `\n  ${error.message}`)
  return `${lines.join('')}${damaged.length > named ? `\n  … and ${damaged.length - named} more` : ''}`
}
