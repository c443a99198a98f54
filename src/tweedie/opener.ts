import { ownNames, type Checkpoint } from '../io/index.ts'
import { loadModel, type LoadOptions } from '../nn/index.ts'
import { printable } from '../printable.ts'
import type { FileMemory } from './device-for.ts'
import { downloads, type DownloadOptions } from './downloads.ts'
import { isBytes, isPlace, openWhere, type Files, type Where } from './files.ts'
import type { Opener } from './guidance-files.ts'
import { openModelFile, openNamed, sha256OfWeights } from './model-file.ts'

/** A file, and the flags that describe it where it does not itself. */
export interface FlaggedFile {
  /** Where it is. */
  readonly where: Where
  /** Of the script that trained it. */
  readonly flags?: string | readonly string[] | undefined
  /** Which of its state dicts, for a file that holds several. */
  readonly stateDict?: string | undefined
}

/** A file as it was asked for. */
export interface OpenedFile extends FlaggedFile {
  /** The published model it is, as its user says. */
  readonly preset: string | null
  /** The published model it is, as its user or the file says. */
  readonly published: string | undefined
}

/** Opens the files of one `Tweedie`, reads them under one count of bytes, and closes them again. */
export interface FileOpener extends Opener<FlaggedFile> {
  /** Begins with the files of the web among these, side by side, so that their sizes are known early. */
  begin(places: readonly Where[]): void
  /** The file of an option that is no network of ADM. */
  openWeights(option: string, where: Where): Promise<Checkpoint>
  /** What was opened, by option. */
  readonly opened: ReadonlyMap<string, OpenedFile>
  /** What was chosen, renamed or left out in a file, a sentence each that begins with the file's name. */
  readonly notes: readonly string[]
  /** The published model that a file is. */
  presetOf(option: string): string | undefined
  /** What the files that were opened will take. */
  memory(): FileMemory
  /** A number made of the weights that were read so far. */
  checksum(): number
  /** How a file of those opened is read; null: there is none to read. */
  reading(checkpoint: Checkpoint | null): LoadOptions
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
export function fileOpener(
  files: Files,
  { signal, ...options }: LoadOptions & Pick<DownloadOptions, 'cache' | 'hashOf'>,
): FileOpener {
  const opened = new Map<string, OpenedFile>()
  const notes: string[] = []
  const checkpoints = new Map<Checkpoint, (part: number) => void>()
  const arriving = downloads(files, { ...options, ...(signal && { signal }) })
  let checksum = 0
  let host = 0
  let weights = 0
  const noted = (where: Where, checkpoint: Checkpoint): Checkpoint => {
    notes.push(...(checkpoint.notes ?? []).map((note) => printable(`${checkpoint.name}: ${note}.`)))
    const memory = memoryOf(where, checkpoint)
    host += memory.host
    weights += memory.weights
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
    checkpoints.set(own, arriving.count(where, bytesIn(tensors)))
    return own
  }
  const reading = (checkpoint: Checkpoint | null): LoadOptions => {
    const count = checkpoint && checkpoints.get(checkpoint)
    return { ...(signal && { signal }), onProgress: (done, total) => count?.(total === 0 ? 1 : done / total) }
  }
  return {
    opened,
    notes,
    begin: arriving.begin,
    reading,
    memory: () => ({ host, weights }),
    checksum: () => checksum,
    called: (option) => called[option] ?? option,
    async open(option, { where, flags, stateDict }, preset) {
      const found = await openModelFile(arriving, where, { preset: preset ?? undefined, flags, stateDict, signal })
      opened.set(option, { where, flags, stateDict, preset: preset ?? null, published: found.description.preset })
      return { ...found, checkpoint: noted(where, found.checkpoint) }
    },
    async openWeights(option, where) {
      opened.set(option, { where, preset: null, published: undefined })
      return noted(where, ownNames(await openNamed(arriving, where, { signal })))
    },
    presetOf: (option) => opened.get(option)?.published,
    load: (device, { checkpoint, description }) => loadModel(device, checkpoint, description, reading(checkpoint)),
    hash: async (option) => sha256OfWeights((where) => openWhere(arriving, where), opened.get(option)!.where, signal),
    async close() {
      arriving.end()
      for (const checkpoint of checkpoints.keys()) await checkpoint.close()
    },
  }
}

/** A tensor is in memory twice while it goes to the device, as it lies in the file and as floats. */
function memoryOf(where: Where, { tensors }: Checkpoint): FileMemory {
  const sizes = [...tensors.values()].map(({ shape }) => 4 * shape.reduce((a, b) => a * b, 1))
  const file = bytesIn(tensors)
  // Bytes of the caller's stay, to be read again should the device be lost; of a file of the web 64 MiB are held.
  const held = isPlace(where) ? Math.min(file, 2 ** 26) : isBytes(where) ? file : 0
  return { host: held + 2 * Math.max(0, ...sizes), weights: sizes.reduce((a, b) => a + b, 0) }
}

const bytesIn = (tensors: Checkpoint['tensors']): number =>
  [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)

/** Over every 16th word, which tells one training from another, and costs nothing beside the reading. */
function sumOf({ buffer, byteOffset, byteLength }: ArrayBufferView): number {
  if (byteOffset % 4 !== 0) return byteLength
  const words = new Int32Array(buffer, byteOffset, Math.floor(byteLength / 4))
  let sum = 0
  for (let i = 0; i < words.length; i += 16) sum = (Math.imul(sum, 31) + words[i]) | 0
  return sum
}
