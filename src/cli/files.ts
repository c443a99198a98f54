/** Model files as the commands open them: the checkpoint, what network it holds, and its sha256. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { parse, join } from 'node:path'
import { openCheckpoint, openFile, type Checkpoint } from '../io/index.node.ts'
import { checkStateDict, describeModel, loadModel, planOf, stateDictOf, type Classifier, type ModelDescription, type UNet } from '../nn/index.ts'
import type { Device } from '../tensor/index.ts'
import { fail } from './arguments.ts'
import { progress } from './progress.ts'

export interface ModelFile {
  readonly path: string
  readonly checkpoint: Checkpoint
  readonly description: ModelDescription
}

export const openWeights = async (path: string, signal: AbortSignal): Promise<Checkpoint> => openCheckpoint(await openFile(path), { signal })

/** The text of the `.json` of the same name beside a checkpoint, where there is one. */
export const jsonBeside = (path: string): Promise<string | undefined> => {
  const { dir, name } = parse(path)
  return readFile(join(dir, `${name}.json`), 'utf8').catch(() => undefined)
}

/**
 * Opens a checkpoint and tells what network it holds: from its own metadata, the preset, or the `.json` beside it. That
 * its tensors are the network's is known here, before a device is asked for.
 */
export async function openModel(path: string, preset: string | undefined, signal: AbortSignal): Promise<ModelFile> {
  const checkpoint = await openWeights(path, signal)
  try {
    const { kind } = checkpoint.metadata
    if (kind === 'tweedie-training') fail(`${path}: the state of a training run, with which train --resume goes on: take the weights beside it, an ema-RATE.safetensors or model.safetensors.`)
    if (kind === 'features') fail(`${path}: a feature net, for --features; it is no network that draws or guides.`)
    const json = preset === undefined ? await jsonBeside(path) : undefined
    const description = describeModel(checkpoint, { ...(preset === undefined ? {} : { preset }), ...(json === undefined ? {} : { json }) })
    checkStateDict(stateDictOf(planOf(description.config)), new Map([...checkpoint.tensors].map(([key, { shape }]) => [key, shape])), path)
    return { path, checkpoint, description }
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

/** Loads a network under a progress bar. */
export const loadWithProgress = (device: Device, { path, checkpoint, description }: ModelFile, signal: AbortSignal): Promise<UNet | Classifier> =>
  readingWithProgress(`Loading ${parse(path).base}`, checkpoint, (onProgress) => loadModel(device, checkpoint, description, { signal, onProgress }))

/** What `read` makes of all tensors of a checkpoint, under a bar of its MiB. */
export async function readingWithProgress<T>(what: string, { tensors }: Checkpoint, read: (onProgress: (bytes: number) => void) => Promise<T>): Promise<T> {
  const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20 * 10) / 10
  const total = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
  const bar = progress(what, mebibytes(total), 'MiB')
  try {
    return await read((done) => bar.update(mebibytes(done)))
  } finally {
    bar.stop()
  }
}

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export async function sha256OfFile(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { signal })) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}
