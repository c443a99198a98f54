/** What the files of a run beside its model are, before any of them is loaded: published figures depend on it. */
import type { ModelDescription } from '../../nn/index.ts'
import type { Arguments } from '../arguments.ts'
import { lookAtModel } from '../files.ts'
import type { Option } from '../option.ts'

/** By what it is for; absent where the run has none. */
export interface KnownFiles {
  readonly classifier?: ModelDescription
  readonly minority?: ModelDescription
  readonly upsampler?: ModelDescription
}

const files = {
  classifier: ['classifier', 'classifier-preset', 'classifier-weights'],
  minority: ['minority-classifier', 'minority-preset', 'minority-weights'],
  upsampler: ['upsampler', 'upsampler-preset', 'upsampler-weights'],
} as const

type FileOption = (typeof files)[keyof typeof files][number]

/** Opens each file for its header alone. What is wrong with one is said where it is opened for use. */
export async function knownFiles(
  args: Arguments<Readonly<Record<FileOption, Option<string>>>>,
  signal: AbortSignal,
): Promise<KnownFiles> {
  const found: Record<string, ModelDescription> = {}
  for (const [use, [option, preset, weights]] of Object.entries(files)) {
    const path = args.get(option)
    const told = { preset: args.get(preset), weights: args.get(weights) }
    const file = path === undefined ? null : await lookAtModel(path, told, signal).catch(() => null)
    await file?.checkpoint.close()
    if (file) found[use] = file.description
  }
  return found
}
