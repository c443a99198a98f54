/**
 * Command line arguments: a table of options says what there is, `parseArguments` reads them with Node's own
 * `parseArgs`, and `helpOf` prints the same table. A word is read when it is asked for, by its option; whatever does
 * not fit is one line that names the option.
 */
import { parseArgs } from 'node:util'
import { resolve } from 'node:path'
import { fail } from '../tweedie/fail.ts'
import { didYouMean, joinWords, wordsOf, type Option, type OptionTable, type ValueOf } from './option.ts'
import type { Session } from './session.ts'
import { addShippedSet } from './shipped.ts'

export { fail }

export interface Command<T extends OptionTable = OptionTable> {
  readonly name: string
  /** What follows the name in the usage line. */
  readonly usage: string
  readonly summary: string
  readonly options: T
  /** Fewest and most arguments that are no options. */
  readonly positionals: readonly [number, number]
  readonly notes?: readonly string[]
  /** Without the program's name. */
  readonly examples: readonly string[]
  run(argv: readonly string[], session: Session): Promise<void>
}

/** The arguments of a command with the options `T`. */
export class Arguments<T extends OptionTable> {
  readonly options: T
  readonly positionals: readonly string[]
  readonly #words: ReadonlyMap<string, string>

  /** `words`: what was given, by option. */
  constructor(options: T, positionals: readonly string[], words: ReadonlyMap<string, string>) {
    this.options = options
    this.positionals = positionals
    this.#words = words
  }

  /** The word as it was given, if it was. */
  text(name: keyof T & string): string | undefined {
    return this.#words.get(name)
  }

  has(name: keyof T & string): boolean {
    return this.#words.has(name)
  }

  /** What was given or is the default. Throws 'option' for a word that means nothing to the option. */
  get<K extends keyof T & string>(name: K): ValueOf<T[K]> {
    const option = this.options[name] as Option
    const word = this.text(name) ?? option.default
    return (word === undefined ? undefined : option.read(word, name)) as ValueOf<T[K]>
  }

  required<K extends keyof T & string>(name: K, hint = ''): NonNullable<ValueOf<T[K]>> {
    return (this.get(name) as NonNullable<ValueOf<T[K]>> | undefined) ?? fail(`--${name} is required${hint}.`)
  }

  /** An absolute path; null where none is given. */
  path(name: keyof T & string): string | null {
    const path = this.get(name) as string | undefined
    return path === undefined ? null : resolve(path)
  }
}

/** Reads the arguments of a command. Throws 'option' for what is unknown, incomplete or too much. */
export function parseArguments<T extends OptionTable>(
  { name, options, positionals: [fewest, most], usage }: Command<T>,
  argv: readonly string[],
): Arguments<T> {
  const types = Object.entries(options).map(([key, { value }]) => [
    key,
    { type: value === undefined ? ('boolean' as const) : ('string' as const) },
  ])
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(types),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const values = new Map<string, string>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const { name: key, rawName, value } = token
    if (!Object.hasOwn(options, key))
      fail(
        `tweedie ${name} has no option ${rawName}` +
          `${didYouMean(key, Object.keys(options), '--') || `. tweedie ${name} --help lists them.`}`,
      )
    const option = options[key] as Option
    // `--seed --out x`: the value was forgotten. A single dash may begin one: --guide-after -1; and words
    // with two are --flags.
    if (option.value !== undefined && (value === undefined || (!token.inlineValue && /^--\S*$/.test(value))))
      fail(`${rawName} needs a value: ${rawName} ${option.value}.`)
    const before = values.get(key)
    if (before !== undefined && !option.several) fail(`${rawName} is given twice.`)
    values.set(key, before === undefined ? (value ?? 'true') : joinWords([...wordsOf(before), value ?? 'true']))
  }
  if (positionals.length > most)
    fail(`tweedie ${name}: "${positionals[most]}" is too much. Usage: tweedie ${name} ${usage}`)
  if (positionals.length < fewest) fail(`tweedie ${name} needs more. Usage: tweedie ${name} ${usage}`)
  addShippedSet(values, options)
  return new Arguments(options, positionals, values)
}

/** The help of one command. */
export function helpOf({ name, usage, summary, options, notes = [], examples }: Command): string {
  const rows = Object.entries(options).map(
    ([key, { value, help, default: word, otherwise = word }]) =>
      [
        `--${key}${value === undefined ? '' : ` ${value}`}`,
        `${help}${otherwise === undefined ? '' : ` (default: ${otherwise})`}`,
      ] as const,
  )
  const width = Math.min(30, Math.max(0, ...rows.map(([left]) => left.length)) + 2)
  const row = (left: string, right: string): string =>
    `  ${left.length + 2 > width ? `${left}\n${' '.repeat(width + 2)}` : left.padEnd(width)}${wrap(right, width + 2)}`
  const lines = [summary, '', `Usage: tweedie ${name} ${usage}`.trimEnd()]
  if (rows.length > 0) lines.push('', 'Options:', ...rows.map(([left, right]) => row(left, right)))
  if (notes.length > 0) lines.push('', ...notes.map((note) => wrap(note, 0)))
  return [
    ...lines,
    '',
    examples.length === 1 ? 'Example:' : 'Examples:',
    ...examples.map((example) => `  tweedie ${example}`),
  ].join('\n')
}

/** Breaks text at 110 columns, with the following lines indented. */
function wrap(text: string, indent: number): string {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!
    if (line !== '' && indent + line.length + 1 + word.length > 110) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines.join(`\n${' '.repeat(indent)}`)
}
