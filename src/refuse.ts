/** Refuses what a caller gives and nothing takes: a misspelled option, a value that is none of the choices. */
import { TweedieError, unexpected } from './errors.ts'
import { nearestName, unknownNames } from './suggest.ts'

/**
 * Refuses options that are no object, or have a key that is not one of `known`: in JavaScript a misspelled option is
 * not there, and its default is used. The keys of `known` are held against the options' type by the compiler. A key
 * that is undefined is as good as absent. Of the options that many functions have, an AbortSignal and what is called on
 * progress must be such: else a work of minutes ends at the first call.
 * @throws TweedieError 'option'
 */
export function refuseUnknown<T extends object>(
  of: string,
  options: T,
  known: { readonly [K in keyof Required<T>]: unknown },
): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw noOptions(of, options, known)
  // Ops are called often: only an error takes its time.
  for (const key in options)
    if (!Object.hasOwn(known, key) && options[key] !== undefined) throw unknownOptions(of, options, known)
  const { signal, onProgress, onStep } = options as Readonly<Record<string, unknown>>
  if (given(signal) && typeof (signal as AbortSignal).throwIfAborted !== 'function')
    throw unexpected(`${of}: signal`, 'an AbortSignal', signal, 'That of an AbortController is its signal.')
  for (const [name, call] of [
    ['onProgress', onProgress],
    ['onStep', onStep],
  ])
    if (given(call) && typeof call !== 'function') throw unexpected(`${of}: ${name as string}`, 'a function', call)
}

const given = (value: unknown): value is NonNullable<unknown> => value !== undefined && value !== null

const noOptions = (of: string, options: unknown, known: object): TweedieError =>
  unexpected(of, `an object of options such as { ${Object.keys(known)[0]}: … }`, options)

function unknownOptions(of: string, options: object, known: object): TweedieError {
  // A tensor, say, is an object, and no options.
  if (options.constructor !== undefined && options.constructor !== Object) return noOptions(of, options, known)
  const names = Object.entries(options).flatMap(([key, value]) => (value === undefined ? [] : [key]))
  return new TweedieError(
    'option',
    `${of}: ${unknownNames('option', names, Object.keys(known))}; there are ${Object.keys(known).join(', ')}.`,
  )
}

/**
 * Refuses a value that is not one of `choices`, whatever its case. `what` begins the message.
 * @throws TweedieError 'option'
 */
export function refuseOther<T extends string>(what: string, value: T, choices: readonly T[]): void {
  if (choices.includes(value)) return
  const same = choices.find((choice) => choice.toLowerCase() === String(value).toLowerCase())
  const near = same ?? nearestName(String(value), choices)
  const list = choices
    .map((choice, i) => `${i === 0 ? '' : i === choices.length - 1 ? ' or ' : ', '}'${choice}'`)
    .join('')
  throw new TweedieError(
    'option',
    `${what} is ${list}, found ${typeof value === 'string' ? `'${value}'` : String(value)}` +
      `${near ? `: did you mean '${near}'?` : '.'}`,
  )
}
