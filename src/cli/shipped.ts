/** The shipped set on the command line: `--model bccd32` is what `Tweedie.load('bccd32')` is in a program. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { nodeFiles } from '../tweedie/files.node.ts'
import { bccd32 } from '../tweedie/shipped.ts'
import type { OptionTable } from './arguments.ts'

/** Where a file of the set lies, in a clone and in an installed package. */
export const shipped = (file: keyof typeof bccd32): string => fileURLToPath(new URL(bccd32[file], nodeFiles.shipped))

/**
 * Arguments in which `--model bccd32` is the shipped file and brings what belongs to it, where a command takes that: its
 * minority classifier with `--method minority-guided`, and its feature net, unless another distance is asked for. A file of
 * that name in the working folder is meant itself.
 */
export function withShippedSet(argv: readonly string[], options: OptionTable): readonly string[] {
  const valueOf = (name: string): string | undefined => argv.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? argv[argv.indexOf(`--${name}`) + 1 || argv.length]
  const has = (...names: string[]): boolean => names.some((name) => argv.some((word) => word === `--${name}` || word.startsWith(`--${name}=`)))
  if (!Object.hasOwn(options, 'model') || valueOf('model') !== 'bccd32' || existsSync('bccd32')) return argv
  const words = argv.map((word, i) => word === '--model=bccd32' ? `--model=${shipped('model')}` : argv[i - 1] === '--model' ? shipped('model') : word)
  if (valueOf('method') === 'minority-guided' && !has('minority-classifier')) words.push('--minority-classifier', shipped('minorityClassifier'))
  if (Object.hasOwn(options, 'distance') && !has('distance', 'lpips', 'features')) words.push('--distance', 'features')
  return words
}
