/**
 * An option is described once. From the description come the help, what a typed word means, what run.json keeps of it
 * and `replay` types again, and which options name files: those that no output may overwrite, that a record has the
 * sha256 of, and that a replay looks at again.
 */
import { nearestName } from '../suggest.ts'
import { fail } from '../tweedie/fail.ts'

/** What run.json keeps of an option. */
export type Word = string | number | boolean

/** An option whose value is a `T`, and which is recorded from settings `S`. */
export interface Option<T = unknown, S = never> {
  /** What the help calls its value; a switch has none. */
  readonly value?: string
  readonly help: string
  /** The word that is read where none is given. */
  readonly default?: string
  /** What the help says instead where no one word is the default. */
  readonly otherwise?: string
  /** Bounds of a number, those of its reader: a table with others makes the option anew. */
  readonly min?: number
  readonly max?: number
  /** Of a path, what lies there: a file or a set of images that is read, or what the command writes. */
  readonly path?: 'file' | 'images' | 'output'
  /** Of what is read, how `replay` calls it: "the classifier". */
  readonly called?: string
  /** May be given more than once: what is read are all its words, see {@link wordsOf}. */
  readonly several?: true
  /** What a word means. Throws 'option' for one that means nothing. */
  readonly read: (word: string, name: string) => T
  /**
   * The word for what a run did, every default filled in; null: the run has no such option. Absent: it
   * decides nothing of a run.
   */
  readonly record?: (settings: S) => Word | null
}

/** Whether its value is a path of what is read. */
export const readsPath = ({ path }: Pick<Option, 'path'>): boolean => path === 'file' || path === 'images'

export type OptionTable = Readonly<Record<string, Option>>

/** The same options, whatever their defaults. */
export type AnyDefault<T> = { readonly [K in keyof T]: Option<NonNullable<ValueOf<T[K]>>> }

/** How the values of a kind of option are read and written. */
export interface Kind<T> {
  readonly read: (word: string, name: string) => T
  readonly write: (value: T) => Word
}

/** What a table says of an option. `recorded`: its value in the settings of a run. */
export interface About<T> extends Pick<Option, 'help' | 'default' | 'otherwise'> {
  readonly value: string
  readonly recorded?: (settings: never) => T | null | undefined
}

type Made<T, A> = Option<T, A extends { readonly recorded: (settings: infer S) => unknown } ? S : unknown> &
  Pick<A, 'default' & keyof A>

/** What the arguments have of an option: without a default it may be nothing. */
export type ValueOf<O> =
  O extends Option<infer T> ? (O extends { readonly default: string } ? T : T | undefined) : never

/** An option of a kind of its own. */
export function optionOf<T, A extends Omit<About<T>, 'value'>>(
  { read, write }: Kind<T>,
  { recorded, ...about }: A,
): Made<T, A> {
  const record =
    recorded &&
    ((settings: never): Word | null => {
      const value = recorded(settings)
      return value === null || value === undefined ? null : write(value)
    })
  return { ...about, read, ...(record && { record }) } as Made<T, A>
}

const same = <T extends Word>(value: T): Word => value

export const text = <A extends About<string>>(about: A): Made<string, A> =>
  optionOf({ read: same as (word: string) => string, write: same }, about)

/** A file that is read. `called`: how `replay` calls it. */
export const file = <A extends About<string> & Pick<Option, 'called'>>(about: A): Made<string, A> =>
  text({ ...about, path: 'file' })

/** A folder of images, an .npz or an IDX file. */
export const images = <A extends About<string> & Pick<Option, 'called'>>(about: A): Made<string, A> =>
  text({ ...about, path: 'images' })

/** A file or a folder that is written. */
export const output = <A extends About<string>>(about: A): Made<string, A> => text({ ...about, path: 'output' })

/** `--name`, or `--name=false`. */
export const flag = <A extends Omit<About<boolean>, 'value'>>(about: A): Made<boolean, A> =>
  optionOf(
    {
      read: (word, name) =>
        word === 'true' ||
        (word !== 'false' && fail(`--${name} is a switch (--${name}, or --${name}=false), found "${word}".`)),
      write: same,
    },
    about,
  )

export const number = <A extends About<number> & Pick<Option, 'min' | 'max'>>(about: A): Made<number, A> => {
  const { min = -Infinity, max = Infinity } = about
  return optionOf(
    {
      read: (word, name) => {
        const value = word.trim() === '' ? NaN : Number(word)
        return Number.isFinite(value) && value >= min && value <= max
          ? value
          : fail(`--${name}: expected ${range('a number', min, max)}, found "${word}".`)
      },
      write: same,
    },
    about,
  )
}

/** A whole number; of 0 or more, unless `min` says otherwise. */
export const integer = <A extends About<number> & Pick<Option, 'min' | 'max'>>(about: A): Made<number, A> => {
  const { min = 0, max = Infinity } = about
  return optionOf(
    {
      read: (word, name) =>
        wholeNumber(word, min, max) ??
        fail(`--${name}: expected ${range('a whole number', min, max)}, found "${word}".`),
      write: same,
    },
    about,
  )
}

const wholeNumber = (word: string, min: number, max: number): number | undefined => {
  const value = /^\s*\d+\s*$/.test(word) ? Number(word) : NaN
  return Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined
}

const range = (what: string, min: number, max: number): string =>
  min === -Infinity ? what : max === Infinity ? `${what} of ${min} or more` : `${what} from ${min} to ${max}`

/** Numbers with commas between. `one` reads one of them; `expected` says what they are, with an example. */
const numbers = (expected: string, one: (word: string) => number | undefined): Kind<readonly number[]> => ({
  read: (word, name) =>
    word.split(',').map((part) => one(part) ?? fail(`--${name}: expected ${expected}, found "${word}".`)),
  write: (value) => value.join(','),
})

export const integersKind = numbers('whole numbers with commas between, as in 3,8', (word) =>
  wholeNumber(word, 0, Infinity),
)
const factorsKind = numbers('factors with commas between, as in 1,2,2', (word) =>
  Number(word) > 0 ? Number(word) : undefined,
)

/** `3,8`. */
export const integers = <A extends About<readonly number[]>>(about: A): Made<readonly number[], A> =>
  optionOf(integersKind, about)

/** `1,2,2` or `0.5,1`, all above 0. */
export const factors = <A extends About<readonly number[]>>(about: A): Made<readonly number[], A> =>
  optionOf(factorsKind, about)

/** One of several words, which are its `value` in the help unless that is said. */
export const choice = <const C extends string, A extends Partial<About<C>> & Pick<Option, 'help'>>(
  choices: readonly C[],
  about: A,
): Made<C, A> =>
  optionOf(
    {
      read: (word, name) => {
        if ((choices as readonly string[]).includes(word)) return word as C
        // "gpu" is nearer to "cpu" than to "webgpu".
        const longer = choices.filter((one) => one.includes(word))
        return fail(
          `--${name}: expected ${choices.join(', ')}, found ` +
            `"${word}"${didYouMean(word, longer.length > 0 ? longer : choices)}`,
        )
      },
      write: same,
    },
    { value: choices.join('|'), ...about },
  ) as Made<C, A>

/** Between the words of an option that was given more than once; no argument of a process can hold it. */
const between = '\0'

/** The words of an option as `Arguments` keeps them, as one. */
export const joinWords = (words: readonly string[]): string => words.join(between)

/** The words that were given to an option of {@link several}; of any other, its one word. */
export const wordsOf = (word: string): string[] => word.split(between)

/** An option that may be given more than once, `--features a --features b`: the values, in their order. */
export const several = <O extends Option>({
  read,
  record: _,
  ...about
}: O): Omit<O, 'read' | 'record'> &
  Option<readonly (O extends Option<infer T> ? T : never)[]> & { readonly several: true } =>
  ({
    ...about,
    several: true,
    read: (word: string, name: string) => wordsOf(word).map((one) => read(one, name)),
  }) as never

/** `, did you mean "x"?`, or nothing: the end of a message about a name that does not exist. */
export function didYouMean(name: string, candidates: Iterable<string>, prefix = ''): string {
  const near = nearestName(name, candidates)
  return near === undefined ? '' : `, did you mean "${prefix}${near}"?`
}
