import { openCheckpoint, type Checkpoint } from '../io/index.ts'
import { sha256, sha256OfBytes } from '../io/sha256.ts'
import { loadModel, type LoadOptions } from '../nn/index.ts'
import { openWhere, type Files, type Where } from './files.ts'
import type { Opener } from './guidance-files.ts'
import { openModelFile, type ModelFile } from './model-file.ts'

/** A file, and the flags that describe it where it does not itself. */
export interface FlaggedFile {
  /** Where it is. */
  readonly where: Where
  /** Of the script that trained it. */
  readonly flags?: string | readonly string[] | undefined
}

/** Opens the files of one `Tweedie`, reads them under one count of bytes, and closes them again. */
export interface FileOpener extends Opener<FlaggedFile> {
  /** A checkpoint that is no network of ADM. */
  openWeights(where: Where): Promise<Checkpoint>
  /** The published model that a file is. */
  presetOf(option: string): string | undefined
  /** A number made of the weights that were read so far. */
  checksum(): number
  /** How the next file of those opened is read: one after another. */
  reading(): LoadOptions
  /** Closes all that was opened. */
  close(): Promise<void>
}

/** The options of the library that are called otherwise than the command line's. */
const called: Readonly<Record<string, string>> = {
  'minority-classifier': 'minorityClassifier',
  extractor: 'minorityClassifier.extractor',
  'minority-target': 'target',
  'minority-tilt': "target 'tilt'",
  target: 'classifierTarget',
}

/** `onProgress` is told of the bytes of all files together. */
export function fileOpener(files: Files, { onProgress, signal }: LoadOptions): FileOpener {
  const opened = new Map<string, { readonly where: Where; readonly file: ModelFile }>()
  const checkpoints: Checkpoint[] = []
  let read = 0
  let checksum = 0
  const summed = (checkpoint: Checkpoint): Checkpoint => {
    const tensors = new Map(
      [...checkpoint.tensors].map(([key, entry]) => [
        key,
        {
          ...entry,
          read: async (signal?: AbortSignal) => {
            const data = await entry.read(signal)
            checksum = (checksum + sumOf(data)) | 0
            return data
          },
        },
      ]),
    )
    const own = { ...checkpoint, tensors }
    checkpoints.push(own)
    return own
  }
  const reading = (): LoadOptions => {
    const before = read
    const total = checkpoints
      .flatMap(({ tensors }) => [...tensors.values()])
      .reduce((sum, { byteLength }) => sum + byteLength, 0)
    return { ...(signal && { signal }), onProgress: (done) => onProgress?.((read = before + done), total) }
  }
  return {
    reading,
    checksum: () => checksum,
    called: (option) => called[option] ?? option,
    async open(option, { where, flags }, preset) {
      const found = await openModelFile(files, where, { preset: preset ?? undefined, flags, signal })
      const file = { ...found, checkpoint: summed(found.checkpoint) }
      opened.set(option, { where, file })
      return file
    },
    async openWeights(where) {
      return summed(await openCheckpoint(await openWhere(files, where, signal), signal ? { signal } : {}))
    },
    presetOf: (option) => opened.get(option)?.file.description.preset,
    load: (device, { checkpoint, description }) => loadModel(device, checkpoint, description, reading()),
    async hash(option) {
      const source = await openWhere(files, opened.get(option)!.where, signal)
      try {
        const bytes = await source.read(0, source.size, signal)
        // A page that is not secure has no hashes of the platform's.
        return globalThis.crypto?.subtle ? await sha256OfBytes(bytes) : sha256(bytes)
      } finally {
        await source.close?.()
      }
    },
    async close() {
      for (const checkpoint of checkpoints) await checkpoint.close()
    },
  }
}

/** Over every 16th word, which tells one training from another, and costs nothing beside the reading. */
function sumOf({ buffer, byteOffset, byteLength }: ArrayBufferView): number {
  if (byteOffset % 4 !== 0) return byteLength
  const words = new Int32Array(buffer, byteOffset, Math.floor(byteLength / 4))
  let sum = 0
  for (let i = 0; i < words.length; i += 16) sum = (Math.imul(sum, 31) + words[i]) | 0
  return sum
}
