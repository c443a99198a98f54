import { TweedieError } from '../errors.ts'
import { preview } from '../printable.ts'

/**
 * The text of a JSON file of ours. Its numbers are finite: JSON has no word for the others, and `JSON.stringify` makes
 * null of them, which the next program takes for 0.
 * @throws TweedieError 'non-finite' for NaN or infinity anywhere in it, naming the file `name` and the place
 */
export function jsonText(value: unknown, name: string, indent?: number): string {
  const broken = nonFinite(value)
  if (broken)
    throw new TweedieError(
      'non-finite',
      `${name} is not written: ${broken.path.replace(/^\./, '') || 'it'} is ${broken.value}, ` +
        'and its numbers are finite.',
    )
  return JSON.stringify(value, null, indent)
}

/** The first number in it that is none, if there is one. */
function nonFinite(value: unknown): { readonly path: string; readonly value: number } | null {
  if (typeof value === 'number') return Number.isFinite(value) ? null : { path: '', value }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = nonFinite(value[i])
      if (found) return { ...found, path: `[${i}]${found.path}` }
    }
  } else if (isObject(value)) {
    for (const key of Object.keys(value)) {
      const found = nonFinite(value[key])
      if (found) return { ...found, path: `.${key}${found.path}` }
    }
  }
  return null
}

/** What is wrong with a value, "scores[3]: expected a number, found null"; undefined for nothing. */
export type Check = (value: unknown, path: string) => string | undefined

const is =
  (expected: string, test: (value: unknown) => boolean): Check =>
  (value, path) =>
    test(value)
      ? undefined
      : `${path}: expected ${expected}, found ${value === undefined ? 'nothing' : preview(value, 60)}`

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Finite: JSON's 1e999 is infinity. */
export const aNumber = is('a number', Number.isFinite)
/** Also of steps, indices and seeds. */
export const aCount = is(
  'a whole number of 0 or more',
  (value) => Number.isSafeInteger(value) && (value as number) >= 0,
)
/** Also an empty one. */
export const aText = is('a text', (value) => typeof value === 'string')
/** Nothing that is only like it. */
export const aBoolean = is('true or false', (value) => typeof value === 'boolean')
/** One of these values. */
export const oneOf = (...choices: readonly (string | number | boolean | null)[]): Check =>
  is(choices.map((choice) => JSON.stringify(choice)).join(' or '), (value) => choices.includes(value as string))
/** What passes one of the checks; the message is that of the last. */
export const anyOf =
  (...checks: readonly Check[]): Check =>
  (value, path) =>
    checks.some((check) => check(value, path) === undefined)
      ? undefined
      : checks.map((check) => check(value, path)).at(-1)
/** Absent, or what the check says. */
export const optional =
  (check: Check): Check =>
  (value, path) =>
    value === undefined ? undefined : check(value, path)

const first = <T>(items: Iterable<T>, check: (item: T) => string | undefined): string | undefined => {
  for (const item of items) {
    const wrong = check(item)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

/** A list of any length whose elements are all alike. */
export const listOf =
  (check: Check): Check =>
  (value, path) =>
    Array.isArray(value)
      ? first(value.keys(), (i) => check(value[i], `${path}[${i}]`))
      : is('a list', () => false)(value, path)

/** An object with these fields, and whatever others. */
export const fieldsOf =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value, path) =>
    isObject(value)
      ? first(Object.entries(checks), ([key, check]) =>
          check(Object.hasOwn(value, key) ? value[key] : undefined, path === '' ? key : `${path}.${key}`),
        )
      : is('an object', () => false)(value, path || 'it')

/** An object whose fields are all alike. */
export const valuesOf =
  (check: Check): Check =>
  (value, path) =>
    fieldsOf(isObject(value) ? Object.fromEntries(Object.keys(value).map((key) => [key, check])) : {})(value, path)

/**
 * The value of a JSON text that passes `check`: files are edited, cut short, and made by others.
 * @throws TweedieError 'format', naming the file `name`, what it should be and what is wrong with it
 */
export function parseJson<T>(text: string, name: string, what: string, check: Check): T {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new TweedieError('format', `${name}: expected ${what}, found no JSON.`, { cause })
  }
  const wrong = check(value, '')
  if (wrong !== undefined) throw new TweedieError('format', `${name}: expected ${what}: ${wrong}.`)
  return value as T
}
