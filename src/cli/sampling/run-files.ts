/** The files of a run beside its model: opened when they are asked for, and hashed for its record. */
import { weightsOptions } from '../../tweedie/origin.ts'
import { loadWithProgress, openModel, sha256sOf, type ModelFile } from '../files.ts'
import type { Word } from '../option.ts'
import { pathsIn, sampleOptions, type SampleOption } from '../options/sample.ts'
import type { Opener } from './guidance-files.ts'

export interface RunFiles extends Opener {
  /** Of folders, the files that cannot be read as images, by option. */
  readonly leftOut: Readonly<Record<string, readonly string[]>>
  /** Of all files that the run reads, by option. */
  sha256(): Promise<Record<string, string>>
  close(): Promise<void>
}

/** What a run with these options reads: opens its models but the first, and hashes all. */
export function runFiles(options: Readonly<Record<string, Word>>, signal: AbortSignal): RunFiles {
  const reads = pathsIn(options)
  const opened = new Map<string, ModelFile>()
  const sums = new Map<string, string>()
  const leftOut: Record<string, readonly string[]> = {}
  const hash = async (option: string): Promise<string> => {
    const sum =
      sums.get(option) ?? (await sha256sOf(sampleOptions[option as SampleOption], reads[option], { signal }))[0]
    sums.set(option, sum)
    return sum
  }
  return {
    open: async (option, path, preset) => {
      const weights = options[weightsOptions[option]] as string | undefined
      const file = await openModel(path, { preset: preset ?? undefined, weights }, signal)
      opened.set(option, file)
      return file
    },
    load: (device, file, stop) => loadWithProgress(device, file, stop ?? signal),
    called: (option) => `--${option}`,
    hash,
    keep: (option, sum, names) => {
      sums.set(option, sum)
      if (names) leftOut[option] = names
    },
    leftOut,
    sha256: async () => {
      for (const option of [...Object.keys(reads).filter((name) => !opened.has(name)), ...opened.keys()])
        await hash(option)
      return Object.fromEntries(sums)
    },
    close: async () => {
      for (const { checkpoint } of opened.values()) await checkpoint.close()
    },
  }
}
