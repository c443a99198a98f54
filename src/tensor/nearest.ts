/**
 * The nearest name: what an error message offers next to a name that is not there. Edit distance (Levenshtein) after
 * the common prefix and suffix are cut off, which state-dict keys share at length, and given up as soon as a row of the
 * table exceeds the best distance so far: 600 names against 600 keys take well under a second.
 */
import { TweedieError, unexpected } from '../errors.ts'

/** Levenshtein distance of two strings, or `limit + 1` where it exceeds `limit`. */
export function editDistance(a: string, b: string, limit = Infinity): number {
  let start = 0
  let endA = a.length
  let endB = b.length
  while (start < endA && start < endB && a.charCodeAt(start) === b.charCodeAt(start)) start++
  while (endA > start && endB > start && a.charCodeAt(endA - 1) === b.charCodeAt(endB - 1)) {
    endA--
    endB--
  }
  const n = endB - start
  if (Math.abs(endA - start - n) > limit) return limit + 1
  const row = Array.from({ length: n + 1 }, (_, j) => j)
  for (let i = 1; i <= endA - start; i++) {
    let diagonal = i - 1
    let smallest = (row[0] = i)
    for (let j = 1; j <= n; j++) {
      const substituted = diagonal + (a.charCodeAt(start + i - 1) === b.charCodeAt(start + j - 1) ? 0 : 1)
      diagonal = row[j]!
      const cost = Math.min(substituted, diagonal + 1, row[j - 1]! + 1)
      row[j] = cost
      if (cost < smallest) smallest = cost
    }
    if (smallest > limit) return limit + 1
  }
  return Math.min(row[n]!, limit + 1)
}

/**
 * The candidate with the smallest edit distance to `name` (the first of equals), or undefined where even the best
 * differs in more than half of the name: a far-fetched suggestion is worse than none.
 */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let limit = Math.max(1, Math.floor(name.length / 2))
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate, limit)
    if (distance > limit) continue
    best = candidate
    limit = distance - 1
    if (distance === 0) break
  }
  return best
}

/** `unknown option "spuds" (did you mean "steps"?)`, or null where all of `names` are known. `what` is one of them: option, key. */
export function unknownNames(what: string, names: readonly string[], known: Iterable<string>): string | null {
  const all = [...known]
  const unknown = names.filter((name) => !all.includes(name))
  if (unknown.length === 0) return null
  const listed = unknown.map((name) => {
    const near = nearest(name, all)
    return near ? `"${name}" (did you mean "${near}"?)` : `"${name}"`
  })
  return `unknown ${what}${unknown.length === 1 ? '' : 's'} ${listed.join(', ')}`
}

/**
 * Refuses options that are no object, or have a key that is not one of `known`: in JavaScript a misspelled option is not
 * there, and its default is used. The keys of `known` are held against the options' type by the compiler. A key that is
 * undefined is as good as absent. Of the options that many functions have, an AbortSignal and what is called on progress
 * must be such: else a work of minutes ends at the first call.
 * @throws TweedieError 'option'
 */
export function refuseUnknown<T extends object>(of: string, options: T, known: { readonly [K in keyof Required<T>]: unknown }): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw noOptions(of, options, known)
  // Ops are called often: only an error takes its time.
  for (const key in options) if (!Object.hasOwn(known, key) && options[key] !== undefined) throw unknownOptions(of, options, known)
  const { signal, onProgress, onStep } = options as Readonly<Record<string, unknown>>
  if (signal && typeof (signal as AbortSignal).throwIfAborted !== 'function') throw unexpected(`${of}: signal`, 'an AbortSignal', signal, 'That of an AbortController is its signal.')
  for (const [name, call] of [['onProgress', onProgress], ['onStep', onStep]]) if (call && typeof call !== 'function') throw unexpected(`${of}: ${name as string}`, 'a function', call)
}

const noOptions = (of: string, options: unknown, known: object): TweedieError =>
  unexpected(of, `an object of options such as { ${Object.keys(known)[0]}: … }`, options)

function unknownOptions(of: string, options: object, known: object): TweedieError {
  // A tensor, say, is an object, and no options.
  if (options.constructor !== undefined && options.constructor !== Object) return noOptions(of, options, known)
  const names = Object.entries(options).flatMap(([key, value]) => (value === undefined ? [] : [key]))
  return new TweedieError('option', `${of}: ${unknownNames('option', names, Object.keys(known))}; there are ${Object.keys(known).join(', ')}.`)
}

/**
 * Refuses a value that is not one of `choices`, whatever its case. `what` begins the message.
 * @throws TweedieError 'option'
 */
export function refuseOther<T extends string>(what: string, value: T, choices: readonly T[]): void {
  if (choices.includes(value)) return
  const same = choices.find((choice) => choice.toLowerCase() === String(value).toLowerCase())
  const near = same ?? nearest(String(value), choices)
  throw new TweedieError('option', `${what} is ${choices.map((choice, i) => `${i === 0 ? '' : i === choices.length - 1 ? ' or ' : ', '}'${choice}'`).join('')}, found ${typeof value === 'string' ? `'${value}'` : String(value)}${near ? `: did you mean '${near}'?` : '.'}`)
}
