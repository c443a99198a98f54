/**
 * Command line arguments: a table of options says what there is, `parseArguments` reads them with Node's own `parseArgs`,
 * and `helpOf` prints the same table. A value stays the text that was typed until an accessor asks for a number, so that
 * a folder called `007` keeps its name; whatever does not fit is one line that names the option.
 */
import { parseArgs } from 'node:util'
import { nearestName } from '../suggest.ts'
import { fail } from '../tweedie/fail.ts'
import type { Session } from './session.ts'
import { addShippedSet } from './shipped.ts'

export { fail }

export interface Option {
  /** What the help calls its value; a flag has none. */
  readonly value?: string
  readonly help: string
  /** The default, as the help shows it. */
  readonly default?: string
}

export type OptionTable = Readonly<Record<string, Option>>

export interface Command {
  readonly name: string
  /** What follows the name in the usage line. */
  readonly usage: string
  readonly summary: string
  readonly options: OptionTable
  /** Fewest and most arguments that are no options. */
  readonly positionals: readonly [number, number]
  readonly notes?: readonly string[]
  /** Without the program's name. */
  readonly examples: readonly string[]
  run(argv: readonly string[], session: Session): Promise<void>
}

/** `"x"`, or nothing: the end of a message about a name that does not exist. */
export function didYouMean(name: string, candidates: Iterable<string>, prefix = ''): string {
  const near = nearestName(name, candidates)
  return near === undefined ? '' : `, did you mean "${prefix}${near}"?`
}

export class Arguments<K extends string> {
  readonly positionals: readonly string[]
  readonly #values: ReadonlyMap<string, string>

  constructor(positionals: readonly string[], values: ReadonlyMap<string, string>) {
    this.positionals = positionals
    this.#values = values
  }

  text(name: K): string | undefined {
    return this.#values.get(name)
  }

  has(name: K): boolean {
    return this.#values.has(name)
  }

  required(name: K, hint = ''): string {
    return this.text(name) ?? fail(`--${name} is required${hint}.`)
  }

  flag(name: K): boolean | undefined {
    const text = this.text(name)
    if (text === undefined || text === 'true') return text === undefined ? undefined : true
    return text === 'false' ? false : fail(`--${name} is a switch (--${name}, or --${name}=false), found "${text}".`)
  }

  number(name: K, { min = -Infinity, max = Infinity } = {}): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const value = text.trim() === '' ? NaN : Number(text)
    if (Number.isFinite(value) && value >= min && value <= max) return value
    return fail(`--${name}: expected ${range('a number', min, max)}, found "${text}".`)
  }

  integer(name: K, { min = 0, max = Infinity } = {}): number | undefined {
    const text = this.text(name)
    return text === undefined ? undefined : wholeNumber(text, min, max) ?? fail(`--${name}: expected ${range('a whole number', min, max)}, found "${text}".`)
  }

  /** `3,8`. */
  integers(name: K): number[] | undefined {
    return this.text(name)?.split(',').map((part) => wholeNumber(part, 0, Infinity)
      ?? fail(`--${name}: expected whole numbers with commas between, as in 3,8, found "${this.text(name)}".`))
  }

  choice<const C extends string>(name: K, choices: readonly C[]): C | undefined {
    const text = this.text(name)
    if (text === undefined || choices.includes(text as C)) return text as C | undefined
    // "gpu" is nearer to "cpu" than to "webgpu".
    const longer = choices.filter((choice) => choice.includes(text))
    return fail(`--${name}: expected ${choices.join(', ')}, found "${text}"${didYouMean(text, longer.length > 0 ? longer : choices)}`)
  }
}

const wholeNumber = (text: string, min: number, max: number): number | undefined => {
  const value = /^\s*\d+\s*$/.test(text) ? Number(text) : NaN
  return Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined
}

const range = (what: string, min: number, max: number): string =>
  min === -Infinity ? what : max === Infinity ? `${what} of ${min} or more` : `${what} from ${min} to ${max}`

/** Reads the arguments of a command. Throws 'option' for what is unknown, incomplete or too much. */
export function parseArguments<K extends string>(command: { readonly name: string; readonly options: Readonly<Record<K, Option>>; readonly positionals: readonly [number, number]; readonly usage: string }, argv: readonly string[]): Arguments<K> {
  const { name, positionals: [fewest, most], usage } = command
  const options: OptionTable = command.options
  const types = Object.entries(options).map(([key, { value }]) => [key, { type: value === undefined ? 'boolean' as const : 'string' as const }])
  const { tokens } = parseArgs({ args: [...argv], options: Object.fromEntries(types), strict: false, allowPositionals: true, tokens: true })
  const values = new Map<string, string>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const { name: key, rawName, value } = token
    if (!Object.hasOwn(options, key)) fail(`tweedie ${name} has no option ${rawName}${didYouMean(key, Object.keys(options), '--') || `. tweedie ${name} --help lists them.`}`)
    const option = options[key] as Option
    // `--seed --out x`: the value was forgotten. A single dash may begin one: --guide-after -1; and words with two are --flags.
    if (option.value !== undefined && (value === undefined || (!token.inlineValue && /^--\S*$/.test(value)))) fail(`${rawName} needs a value: ${rawName} ${option.value}.`)
    if (values.has(key)) fail(`${rawName} is given twice.`)
    values.set(key, value ?? 'true')
  }
  if (positionals.length > most) fail(`tweedie ${name}: "${positionals[most]}" is too much. Usage: tweedie ${name} ${usage}`)
  if (positionals.length < fewest) fail(`tweedie ${name} needs more. Usage: tweedie ${name} ${usage}`)
  addShippedSet(values, options)
  return new Arguments<K>(positionals, values)
}

/** The help of one command. */
export function helpOf({ name, usage, summary, options, notes = [], examples }: Command): string {
  const rows = Object.entries(options).map(([key, { value, help, default: otherwise }]) =>
    [`--${key}${value === undefined ? '' : ` ${value}`}`, `${help}${otherwise === undefined ? '' : ` (default: ${otherwise})`}`] as const)
  const width = Math.min(30, Math.max(0, ...rows.map(([left]) => left.length)) + 2)
  const row = (left: string, right: string): string => `  ${left.length + 2 > width ? `${left}\n${' '.repeat(width + 2)}` : left.padEnd(width)}${wrap(right, width + 2)}`
  const lines = [summary, '', `Usage: tweedie ${name} ${usage}`.trimEnd()]
  if (rows.length > 0) lines.push('', 'Options:', ...rows.map(([left, right]) => row(left, right)))
  if (notes.length > 0) lines.push('', ...notes.map((note) => wrap(note, 0)))
  return [...lines, '', examples.length === 1 ? 'Example:' : 'Examples:', ...examples.map((example) => `  tweedie ${example}`)].join('\n')
}

/** Breaks text at 110 columns, with the following lines indented. */
function wrap(text: string, indent: number): string {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1) as string
    if (line !== '' && indent + line.length + 1 + word.length > 110) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines.join(`\n${' '.repeat(indent)}`)
}
