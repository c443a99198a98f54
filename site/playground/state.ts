/**
 * What the playground draws, as one value: it is what the controls show, what a link holds, and what the command line
 * and the library are told. A link is read as it is written by hand, too: `#seed=7&a=plain&b=minority-guided`. Names
 * are those of `tweedie sample`.
 */

/** How an arm draws. `plain` is ancestral sampling. */
export const methods = ['plain', 'ddim', 'self-guided', 'minority-guided', 'boost-and-skip', 'class-guided'] as const
export type Method = (typeof methods)[number]

/** Methods as a reader calls them. */
export const titles: Readonly<Record<Method, string>> = {
  plain: 'Plain',
  ddim: 'DDIM',
  'self-guided': 'Self-guided',
  'minority-guided': 'Minority-guided',
  'boost-and-skip': 'Boost-and-Skip',
  'class-guided': 'Class-guided',
}

/** A number that a slider sets. */
export interface Range {
  readonly label: string
  readonly least: number
  readonly most: number
  readonly step: number
  readonly start: number
  /** The methods that it is of; all where it is absent. */
  readonly of?: readonly Method[]
}

/** Every number, by its name in a link. */
export const ranges = {
  seed: { label: 'Seed', least: 0, most: 2 ** 32 - 1, step: 1, start: 0 },
  number: { label: 'Pictures', least: 1, most: 16, step: 1, start: 6 },
  respacing: { label: 'Steps', least: 2, most: 250, step: 1, start: 50 },
  'minority-scale': { label: 'Weight', least: 0, most: 8, step: 0.1, start: 2, of: ['minority-guided'] },
  'guide-weight': { label: 'Weight', least: 0, most: 2, step: 0.05, start: 0.4, of: ['self-guided'] },
  boost: { label: 'Boost', least: 1, most: 6, step: 0.1, start: 4, of: ['boost-and-skip'] },
  skip: { label: 'Skipped steps', least: 0, most: 20, step: 1, start: 2, of: ['boost-and-skip'] },
  'classifier-scale': { label: 'Weight', least: 0, most: 10, step: 0.1, start: 1, of: ['class-guided'] },
  label: { label: 'Class', least: 0, most: 999, step: 1, start: 0 },
} as const satisfies Readonly<Record<string, Range>>
export type RangeName = keyof typeof ranges
export const rangeNames = Object.keys(ranges) as RangeName[]

/** `rarest`, or a level of the minority classifier. */
export type Level = number | 'rarest'

/** All that a link restores. */
export type State = Readonly<Record<RangeName, number>> & {
  /** The two arms, which start from the same noise. */
  readonly a: Method
  readonly b: Method | 'none'
  /** `bccd32`, or the name of a file, which a link cannot hold: who opens it is asked for the file. */
  readonly model: string
  readonly 'minority-target': Level
  readonly backend: (typeof backends)[number]
}

export const backends = ['auto', 'webgpu', 'cpu'] as const

export const start: State = {
  ...(Object.fromEntries(rangeNames.map((name) => [name, ranges[name].start])) as Record<RangeName, number>),
  a: 'plain',
  b: 'minority-guided',
  model: 'bccd32',
  'minority-target': 'rarest',
  backend: 'auto',
}

/** The number nearest to what was typed that the slider can stand on; null where no number was. */
export function within({ least, most, step }: Range, text: string): number | null {
  const number = Number(text)
  if (text.trim() === '' || !Number.isFinite(number)) return null
  const value = Math.min(most, Math.max(least, number))
  return step < 1 ? Number(value.toFixed(2)) : Math.round(value)
}

/** Whether `text` is a number that the slider can stand on. */
function readRange(name: RangeName, text: string): number | null {
  const { least, most, step } = ranges[name]
  const value = Number(text)
  const ok = text.trim() !== '' && value >= least && value <= most && (step < 1 || Number.isInteger(value))
  return ok ? value : null
}

/** What a link may say of each, in words. */
function expected(name: keyof State): string {
  if (Object.hasOwn(ranges, name)) {
    const { least, most, step } = ranges[name as RangeName]
    return `expected a ${step < 1 ? '' : 'whole '}number from ${least} to ${most}`
  }
  if (name === 'a') return `expected ${methods.join(', ')}`
  if (name === 'b') return `expected ${methods.join(', ')}, none`
  if (name === 'backend') return `expected ${backends.join(', ')}`
  return name === 'model' ? 'expected bccd32, or the name of a file' : 'expected rarest, or the number of a level'
}

const oneOf =
  <T extends string>(all: readonly T[]) =>
  (text: string): T | null =>
    all.includes(text as T) ? (text as T) : null

const choices: { readonly [K in Exclude<keyof State, RangeName>]: (text: string) => State[K] | null } = {
  a: oneOf(methods),
  b: oneOf([...methods, 'none']),
  model: (text) => (text.length > 0 && text.length <= 255 ? text : null),
  'minority-target': (text) => (text === 'rarest' ? text : /^\d{1,3}$/.test(text) ? Number(text) : null),
  backend: oneOf(backends),
}

const read = (name: string, text: string): State[keyof State] | null | undefined => {
  if (Object.hasOwn(ranges, name)) return readRange(name as RangeName, text)
  return Object.hasOwn(choices, name) ? choices[name as keyof typeof choices](text) : undefined
}

/** The state of a link's hash, and a sentence for each part of it that says nothing, which keeps its default. */
export function stateOf(hash: string): { readonly state: State; readonly problems: readonly string[] } {
  const problems: string[] = []
  const found: Partial<Record<string, unknown>> = {}
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ''))) {
    const value = read(name, text)
    if (value === undefined) problems.push(`The link has "${short(name)}", which the playground does not know.`)
    else if (value === null) problems.push(`The link's ${name} is "${short(text)}": ${expected(name as keyof State)}.`)
    else found[name] = value
  }
  return { state: { ...start, ...found }, problems }
}

const short = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text)

/** Of a state the hash that {@link stateOf} reads: what is not as at the start, in a fixed order. */
export function hashOf(state: State): string {
  const names = (Object.keys(start) as (keyof State)[]).filter((name) => state[name] !== start[name])
  return names.length === 0 ? '' : `#${names.map((name) => `${name}=${encodeURIComponent(state[name])}`).join('&')}`
}

/** The arms that draw. */
export const armsOf = ({ a, b }: State): readonly Method[] => (b === 'none' ? [a] : [a, b])

/** The numbers that matter to the pictures: those of all methods, and of the arms' own; a class where there are any. */
export const rangesOf = (state: State, classes: boolean): readonly RangeName[] =>
  rangeNames.filter((name) => {
    const range: Range = ranges[name]
    if (name === 'label' && !classes) return false
    return !range.of || armsOf(state).some((method) => range.of!.includes(method))
  })
