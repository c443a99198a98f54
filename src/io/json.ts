/**
 * JSON of our files, both ways. Written, its numbers are finite: JSON has no word for the others, and `JSON.stringify`
 * makes null of them, which the next program takes for 0. Read, it is checked against what it should be before anything
 * is computed from it, since files are edited, cut short, and made by others.
 */
import { TweedieError } from '../errors.ts'

/** @throws TweedieError 'non-finite' for NaN or infinity anywhere in it, naming the file `name` and the place */
export function jsonText(value: unknown, name: string, indent?: number): string {
  const broken = nonFinite(value)
  if (broken) throw new TweedieError('non-finite', `${name} is not written: ${broken.path.replace(/^\./, '') || 'it'} is ${broken.value}, and its numbers are finite.`)
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

const is = (expected: string, test: (value: unknown) => boolean): Check => (value, path) =>
  test(value) ? undefined : `${path}: expected ${expected}, found ${(JSON.stringify(value) ?? 'nothing').slice(0, 60)}`

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** JSON's 1e999 is infinity. */
export const aNumber = is('a number', Number.isFinite)
export const aCount = is('a whole number of 0 or more', (value) => Number.isSafeInteger(value) && (value as number) >= 0)
export const aText = is('a text', (value) => typeof value === 'string')
export const aBoolean = is('true or false', (value) => typeof value === 'boolean')
export const oneOf = (...choices: readonly (string | number | boolean | null)[]): Check => is(choices.map((choice) => JSON.stringify(choice)).join(' or '), (value) => choices.includes(value as string))
export const anyOf = (...checks: readonly Check[]): Check => (value, path) => checks.some((check) => check(value, path) === undefined) ? undefined : checks.map((check) => check(value, path)).at(-1)
export const optional = (check: Check): Check => (value, path) => value === undefined ? undefined : check(value, path)

const first = <T>(items: Iterable<T>, check: (item: T) => string | undefined): string | undefined => {
  for (const item of items) {
    const wrong = check(item)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

export const listOf = (check: Check): Check => (value, path) =>
  Array.isArray(value) ? first(value.keys(), (i) => check(value[i], `${path}[${i}]`)) : is('a list', () => false)(value, path)

/** An object with these fields, and whatever others. */
export const fieldsOf = (checks: Readonly<Record<string, Check>>): Check => (value, path) =>
  isObject(value) ? first(Object.entries(checks), ([key, check]) => check(Object.hasOwn(value, key) ? value[key] : undefined, path === '' ? key : `${path}.${key}`)) : is('an object', () => false)(value, path || 'it')

/** An object whose fields are all alike. */
export const valuesOf = (check: Check): Check => (value, path) => fieldsOf(isObject(value) ? Object.fromEntries(Object.keys(value).map((key) => [key, check])) : {})(value, path)

/**
 * The value of a JSON text that passes `check`.
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
