/**
 * The template tag in which every kernel is written: `#if ${cond}` … `#elif ${cond}` … `#else` … `#endif`, and
 * `${value}` pasted as text. It is strict. A value that would be pasted as `undefined`, `NaN` or
 * `[object Object]` throws, and so does a `#` that survives (a misspelt directive), because either would reach the user
 * as a compile error of the driver. A number is pasted as WGSL writes it: `3` is an integer, `3.5` a float; to paste a
 * whole number as a float, write `${x}.0` or use {@link f32}.
 *
 * A kernel is a function of a typed key object that returns WGSL with the entry point `main`. Binding 0 is the uniform
 * of its parameters, described beside it (`uniform.ts`), then come the read-only inputs in order, then the outputs. It
 * takes its keys apart as `({ tile, bias, ...rest })` and calls `noMore(rest)`, so that a key nobody knows throws;
 * where there is nothing to choose it takes none. A module holds one kernel, those that run one after another in one
 * pass, or what several share.
 */
import { TweedieError } from '../errors.ts'

export type WgslValue = string | number | boolean

/** An `#if` that is open: whether a branch of it was taken, whether the one at hand is, and whether it was `#else`. */
interface Choice {
  taken: boolean
  now: boolean
  last: boolean
}

/** Expands the template. Throws `TweedieError('shader-compile')` for an unusable value or a directive out of place. */
export function wgsl(strings: TemplateStringsArray, ...values: readonly WgslValue[]): string {
  let text = ''
  const open: Choice[] = []
  const add = (piece: WgslValue): void => {
    if (open.every(({ now }) => now)) text += piece
  }
  strings.forEach((piece, i) => {
    let done = 0
    let condition = false
    for (const { 0: directive, 1: word, index } of piece.matchAll(/#(\w*)/g)) {
      add(piece.slice(done, index))
      done = index + directive.length
      const choice = open.at(-1)
      condition = word === 'if' || word === 'elif'
      if (condition && (piece.slice(done).trim() || i === values.length))
        throw broken(`${directive} is not followed by a value`)
      if (word === 'if') open.push({ taken: !!values[i], now: !!values[i], last: false })
      else if (word === 'endif' && choice) open.pop()
      else if ((word === 'elif' || word === 'else') && choice && !choice.last) {
        choice.now = !choice.taken && (word === 'else' || !!values[i])
        choice.taken ||= choice.now
        choice.last = word === 'else'
      } else throw broken(`directive "${directive}" is none of #if, #elif, #else, #endif, or has no #if`)
    }
    if (!condition) add(piece.slice(done))
    if (i === values.length) return
    const value = values[i]
    if (typeof value !== 'string' && typeof value !== 'boolean' && !Number.isFinite(value))
      throw broken(`value ${i} is ${String(value)} after "${piece.trimEnd().slice(-40)}"`)
    if (!condition) add(value)
  })
  if (open.length > 0) throw broken('an #if has no #endif')
  return text
}

/** A number as an f32 literal of WGSL. */
export function f32(x: number): string {
  if (!Number.isFinite(x)) throw broken(`${x} has no f32 literal`)
  return `${x}f`
}

/** Throws if a key object had keys that its kernel does not take. */
export function noMore(rest: Readonly<Record<string, never>>): void {
  const unknown = Object.keys(rest)
  if (unknown.length > 0) throw broken(`unknown key ${unknown.join(', ')}`)
}

function broken(what: string): TweedieError {
  return new TweedieError('shader-compile', `Shader template: ${what}`)
}
