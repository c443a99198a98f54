/** The shipped set on the command line: `--model bccd32` is what `Tweedie.load('bccd32')` is in a program. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { nodeFiles } from '../tweedie/files.node.ts'
import { bccd32 } from '../tweedie/shipped.ts'
import type { OptionTable } from './option.ts'

/** Where a file of the set lies, in a clone and in an installed package. */
export const shipped = (file: keyof typeof bccd32): string => fileURLToPath(new URL(bccd32[file], nodeFiles.shipped))

/** Where a file lies that a record of a page names: as it is said, or of the shipped set. */
export const placeOf = (word: string): string => {
  const file = Object.entries(bccd32).find(([, name]) => name === word)
  return file && !existsSync(word) ? shipped(file[0] as keyof typeof bccd32) : word
}

/**
 * Makes `--model bccd32` the shipped file among the options of a command, and adds what belongs to it, where the
 * command takes that: its minority classifier with `--method minority-guided`, and its feature net, unless another
 * distance is asked for. A file of that name in the working folder is meant itself.
 */
export function addShippedSet(values: Map<string, string>, options: OptionTable): void {
  if (values.get('model') !== 'bccd32' || existsSync('bccd32')) return
  values.set('model', shipped('model'))
  if (values.get('method') === 'minority-guided' && !values.has('minority-classifier'))
    values.set('minority-classifier', shipped('minorityClassifier'))
  if (Object.hasOwn(options, 'distance') && !['distance', 'lpips', 'features'].some((name) => values.has(name)))
    values.set('distance', 'features')
}
