/**
 * Features that were computed once: kept in the user's cache folder under the SHA-256 of all that they follow from, the
 * images, the space, its preprocessing and its weights. Whatever is renamed or moved is found again, and what is
 * another is computed anew. A file that is damaged counts as none. A large set is kept part by part while it is
 * computed, so that one that is stopped goes on.
 */
import { rm, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TweedieError } from '../../errors.ts'
import { openCheckpoint, openFile, writeFileAtomic } from '../../io/index.node.ts'
import { encodeSafetensors } from '../../io/index.ts'
import { sha256 } from '../../io/sha256.ts'
import { countOf, type EvaluatedSpace, type Points, type SpaceFeatures } from '../../metrics/index.ts'
import { cacheFile } from '../../platform/cache.node.ts'
import { tell } from '../print.ts'

/** What features follow from. */
export interface FeaturesKey extends Pick<EvaluatedSpace, 'name' | 'preprocessing' | 'weights'> {
  /** Fingerprint of the set. */
  readonly images: string
}

/** What a space sees of a set: rows in its order, of sFID and of the Inception Score where the space has them. */
export type SetFeatures = Pick<SpaceFeatures, 'features' | 'spatial' | 'logits'>

/** Goes up when features of the same key become others. */
const version = 1

/** Images of a part: of the slowest networks on two cores a few minutes. */
const partSize = 512

const fileOf = ({ images, name, preprocessing, weights }: FeaturesKey, part = ''): string =>
  cacheFile(`features-${version}/${sha256(JSON.stringify([images, name, preprocessing, weights]))}${part}.safetensors`)

/**
 * The features of the key's `count` images, from the cache or else by `compute`, which is asked for the images from
 * `first` to `end`; these are kept where the folder can be written.
 */
export async function cachedFeatures(
  key: FeaturesKey,
  count: number,
  compute: (first: number, end: number) => Promise<SetFeatures>,
  signal: AbortSignal,
): Promise<SetFeatures> {
  const known = await read(fileOf(key), signal)
  if (known) return known
  if (count <= partSize) {
    const made = await compute(0, count)
    await keep(fileOf(key), key, made, signal)
    return made
  }
  const parts: SetFeatures[] = []
  const files: string[] = []
  for (let first = 0; first < count; first += partSize) {
    const file = fileOf(key, `-${first}`)
    files.push(file)
    const there = await read(file, signal)
    const part = there ?? (await compute(first, Math.min(count, first + partSize)))
    if (!there) await keep(file, key, part, signal)
    parts.push(part)
  }
  const made = {
    features: joined(parts.map(({ features }) => features)),
    spatial: joined(parts.map(({ spatial }) => spatial)),
    logits: joined(parts.map(({ logits }) => logits)),
  }
  if (await keep(fileOf(key), key, made, signal)) for (const file of files) await rm(file, { force: true })
  return made
}

function joined(parts: readonly Points[]): Points
function joined(parts: readonly (Points | undefined)[]): Points | undefined
function joined(parts: readonly (Points | undefined)[]): Points | undefined {
  const there = parts.filter((part) => part !== undefined)
  if (there.length < parts.length) return undefined
  const data = new Float32Array(there.reduce((sum, part) => sum + part.data.length, 0))
  let at = 0
  for (const part of there) {
    data.set(part.data, at)
    at += part.data.length
  }
  return { data, dimension: there[0].dimension }
}

let told = false

/** Whether they could be kept; what stands against it is said once. */
async function keep(file: string, key: FeaturesKey, made: SetFeatures, signal: AbortSignal): Promise<boolean> {
  const tensors = (['features', 'spatial', 'logits'] as const).flatMap((name) => {
    const points = made[name]
    if (!points) return []
    return [[name, { shape: [countOf(points), points.dimension], data: points.data }] as const]
  })
  const { images, name, preprocessing, weights } = key
  try {
    await mkdir(dirname(file), { recursive: true })
    await writeFileAtomic(file, encodeSafetensors(tensors, { images, name, preprocessing, weights }), { signal })
    return true
  } catch (error) {
    if (signal.aborted) throw error
    if (!told) tell(`note: the features are not kept for later: ${(error as Error).message}`)
    told = true
    return false
  }
}

async function read(file: string, signal: AbortSignal): Promise<SetFeatures | null> {
  try {
    const checkpoint = await openCheckpoint(await openFile(file), { signal })
    try {
      const points = async (key: string): Promise<Points | undefined> => {
        const entry = checkpoint.tensors.get(key)
        const data = await entry?.read(signal)
        return data instanceof Float32Array ? { data, dimension: entry!.shape[1] } : undefined
      }
      const features = await points('features')
      return features ? { features, spatial: await points('spatial'), logits: await points('logits') } : null
    } finally {
      await checkpoint.close()
    }
  } catch (error) {
    if (signal.aborted || !(error instanceof TweedieError)) throw error
    if (error.code === 'format') await rm(file, { force: true }).catch(() => {})
    return null
  }
}
