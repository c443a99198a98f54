import type { ByteSource } from '../io/index.ts'
import { isPlace, lastPart, type Files, type Where } from './files.ts'
import { sha256OfWeights } from './model-file.ts'
import type { FileOpener } from './opener.ts'

/** Where a model came from: what the record of a run says of what was loaded. */
export interface Origin {
  /** In the options of the command line, those of all files and of the distance. */
  readonly options: Readonly<Record<string, string>>
  /** What has no word there; null: nothing. */
  readonly untold: string | null
  /** Seconds that loading took, from the request of the device on. */
  readonly seconds: number
  /** Whether an option names a file. */
  reads(option: string): boolean
  /** SHA-256 of the file of an option. It is read once more, when it is first asked for. */
  sha256(option: string, signal?: AbortSignal): Promise<string>
}

/** The option that says which published model a file is. */
const presetOptions: Readonly<Record<string, string>> = {
  model: 'preset',
  classifier: 'classifier-preset',
  'minority-classifier': 'minority-preset',
  extractor: 'extractor-preset',
}

/** The option that says which of a file's weights are meant. */
export const weightsOptions: Readonly<Record<string, string>> = {
  model: 'weights',
  classifier: 'classifier-weights',
  'minority-classifier': 'minority-weights',
  extractor: 'extractor-weights',
  upsampler: 'upsampler-weights',
}

/** What {@link originOf} is told. */
export interface LoadedFiles {
  /** With which all was opened. */
  readonly opener: Pick<FileOpener, 'opened' | 'called'>
  /** The options of the distance; null for a function of the caller's. */
  readonly distance: Readonly<Record<string, string>> | null
  readonly seconds: number
  /** Opens one of the files again. */
  readonly open: (where: Where, signal: AbortSignal | undefined) => Promise<ByteSource>
}

/** Of all that was opened. */
export function originOf(files: Files, { opener: { opened, called }, distance, seconds, open }: LoadedFiles): Origin {
  const options: Record<string, string> = {}
  let untold = distance === null ? 'a distance that is a function' : null
  for (const [option, { where, preset, flags, stateDict }] of opened) {
    options[option] = nameOf(files, option, where)
    if (preset !== null) options[presetOptions[option]] = preset
    if (stateDict !== undefined) options[weightsOptions[option]] = stateDict
    if (flags === undefined) continue
    if (option === 'model') options.flags = typeof flags === 'string' ? flags : flags.join(' ')
    else untold ??= `flags of ${called(option)}`
  }
  const hash = (where: Where, signal: AbortSignal | undefined): Promise<string> =>
    sha256OfWeights((one) => open(one, signal), where, signal)
  const sums = new Map<string, Promise<string>>()
  return {
    options: { ...options, ...distance },
    untold,
    seconds,
    reads: (option) => opened.has(option),
    sha256(option, signal) {
      const sum = sums.get(option) ?? hash(opened.get(option)!.where, signal)
      sums.set(option, sum)
      // What failed once is asked for again.
      sum.catch(() => sums.delete(option))
      return sum
    },
  }
}

/** A name for it; bytes have none but what they are for. */
function nameOf(files: Files, option: string, where: Where): string {
  if (isPlace(where)) return files.recorded(where) || option
  const { name = '', read } = where as Partial<File & ByteSource>
  // The name of a source is a place, that of a picked file is none.
  return (read ? files.recorded(name) : lastPart(name)) || option
}
