/**
 * Features that were computed once: kept in the user's cache folder under the SHA-256 of all that they follow from, the
 * images, the space, its preprocessing and its weights. Whatever is renamed or moved is found again, and what is
 * another is computed anew. A file that is damaged counts as none.
 */
import { rm, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TweedieError } from '../errors.ts'
import { openCheckpoint, openFile, writeFileAtomic } from '../io/index.node.ts'
import { encodeSafetensors } from '../io/index.ts'
import { sha256 } from '../io/sha256.ts'
import type { EvaluatedSpace, Points } from '../metrics/index.ts'
import { cacheFile } from '../platform/cache.node.ts'

/** What features follow from. */
export interface FeaturesKey extends Pick<EvaluatedSpace, 'name' | 'preprocessing' | 'weights'> {
  /** Fingerprint of the set. */
  readonly images: string
  /** What of the space: its feature vectors, the map of sFID, or the logits of the Inception Score. */
  readonly of: 'features' | 'spatial' | 'logits'
}

/** Goes up when features of the same key become others. */
const version = 1

const fileOf = ({ images, name, preprocessing, weights, of }: FeaturesKey): string => {
  const hash = sha256(JSON.stringify([images, name, preprocessing, weights, of]))
  return cacheFile(`features-${version}/${hash}.safetensors`)
}

/** The features of the key, from the cache or else by `compute`; these are kept where the folder can be written. */
export async function cachedFeatures(
  key: FeaturesKey,
  count: number,
  compute: () => Promise<Points>,
  signal: AbortSignal,
): Promise<Points> {
  const file = fileOf(key)
  const known = await read(file, signal)
  if (known && known.data.length === count * known.dimension) return known
  const made = await compute()
  const { images, name, preprocessing, weights, of } = key
  try {
    await mkdir(dirname(file), { recursive: true })
    const shape = [count, made.dimension]
    await writeFileAtomic(
      file,
      encodeSafetensors([['features', { shape, data: made.data }]], { images, name, preprocessing, weights, of }),
      { signal },
    )
  } catch (error) {
    if (signal.aborted) throw error
    console.error(`note: the features are not kept for later: ${(error as Error).message}`)
  }
  return made
}

async function read(file: string, signal: AbortSignal): Promise<Points | null> {
  try {
    const checkpoint = await openCheckpoint(await openFile(file), { signal })
    try {
      const entry = checkpoint.tensors.get('features')
      const data = await entry?.read(signal)
      return entry?.shape.length === 2 && data instanceof Float32Array ? { data, dimension: entry.shape[1] } : null
    } finally {
      await checkpoint.close()
    }
  } catch (error) {
    if (signal.aborted) throw error
    if (!(error instanceof TweedieError)) throw error
    if (error.code === 'format') await rm(file, { force: true }).catch(() => {})
    return null
  }
}
