/** Files as the commands open them, under a progress bar, and their sha256. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { dirname, join, parse } from 'node:path'
import { openImages, type OpenImagesOptions } from '../data/index.node.ts'
import { openCheckpoint, openFile, ownNames, type Checkpoint } from '../io/index.node.ts'
import { sha256OfSums, shardsIn } from '../io/shards.ts'
import { loadModel, type Classifier, type UNet } from '../nn/index.ts'
import type { Device } from '../tensor/index.ts'
import type { Files } from '../tweedie/files.ts'
import { nodeFiles } from '../tweedie/files.node.ts'
import { openModelFile, type ModelFile } from '../tweedie/model-file.ts'
import type { Option } from './option.ts'
import { mebibytes, progress } from './progress.ts'
import { tell } from './print.ts'

export type { ModelFile } from '../tweedie/model-file.ts'

/** Opens a file of tensors that are no network's weights, as it is. */
export const openTensors = async (path: string, signal: AbortSignal): Promise<Checkpoint> =>
  openCheckpoint(await openFile(path), { signal })

/** Opens a network's weights under the names that the network has for them, and says on stderr what was done. */
export async function openWeights(path: string, signal: AbortSignal, weights?: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(await openFile(path), {
    signal,
    ...(weights !== undefined && { stateDict: weights }),
    beside: (name) => openFile(join(dirname(path), name)),
  })
  try {
    return noted(ownNames(checkpoint, weights))
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

function noted(checkpoint: Checkpoint): Checkpoint {
  for (const note of checkpoint.notes ?? []) tell(`note: ${checkpoint.name}: ${note}.`)
  return checkpoint
}

/** The text of the `.json` of the same name beside a checkpoint, where there is one. */
export const jsonBeside = (path: string): Promise<string | undefined> => nodeFiles.jsonBeside(path)

// Commands take paths: what they read is hashed, and a record of a run names it.
const paths: Files = { ...nodeFiles, open: (path) => openFile(path as string) }

/** What the command line says of a file that does not say it itself. */
export interface Told {
  readonly preset?: string | undefined
  readonly flags?: string | undefined
  /** Which of the state dicts of a file that holds several. */
  readonly weights?: string | undefined
}

/** Opens a checkpoint to look what network it holds. */
export const lookAtModel = (path: string, { weights, ...told }: Told, signal: AbortSignal): Promise<ModelFile> =>
  openModelFile(paths, path, { ...told, stateDict: weights, signal })

/** Opens a checkpoint and tells what network it holds; says on stderr what was done with its names. */
export async function openModel(path: string, told: Told, signal: AbortSignal): Promise<ModelFile> {
  const file = await lookAtModel(path, told, signal)
  noted(file.checkpoint)
  return file
}

/** Loads a network under a progress bar. */
export const loadWithProgress = (
  device: Device,
  { name, checkpoint, description }: ModelFile,
  signal: AbortSignal,
): Promise<UNet | Classifier> =>
  readingWithProgress(`Loading ${parse(name).base}`, checkpoint, (onProgress) =>
    loadModel(device, checkpoint, description, { signal, onProgress }),
  )

/** What `read` makes of all tensors of a checkpoint, under a bar of its MiB. */
export async function readingWithProgress<T>(
  what: string,
  { tensors }: Checkpoint,
  read: (onProgress: (bytes: number) => void) => Promise<T>,
): Promise<T> {
  const total = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
  const bar = progress(what, mebibytes(total), 'MiB')
  try {
    return await read((done) => bar.update(mebibytes(done)))
  } finally {
    bar.stop()
  }
}

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Of a file's bytes; of an index of shards that of all of them: see {@link sha256OfSums}. */
export async function sha256OfFile(path: string, signal: AbortSignal): Promise<string> {
  const sums: [string, ...string[]] = [await sha256OfBytesOf(path, signal)]
  for (const shard of await shardsIn(await openFile(path), signal))
    sums.push(await sha256OfBytesOf(join(dirname(path), shard), signal))
  return sha256OfSums(sums)
}

async function sha256OfBytesOf(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { signal })) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}

/**
 * The sha256 of what an option names, as the record of a run has it; of images also what the first version took
 * for their fingerprint.
 */
export async function sha256sOf(
  { path: kind }: Pick<Option, 'path'>,
  path: string,
  options: Pick<OpenImagesOptions, 'skipBad'> & { readonly signal: AbortSignal },
): Promise<readonly [string, ...string[]]> {
  if (kind !== 'images') return [await sha256OfFile(path, options.signal)]
  const { fingerprint, formerFingerprint = fingerprint } = await openImages(path, options)
  return [fingerprint, formerFingerprint]
}
