/**
 * The template tag in which every kernel is written: `wgsl-preprocessor` (`#if ${cond}` … `#elif ${cond}` … `#else` …
 * `#endif`, `${value}` pasted as text), made strict. A value that would be pasted as `undefined`, `NaN` or
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
import { wgsl as preprocess } from 'wgsl-preprocessor/wgsl-preprocessor.js'
import { TweedieError } from '../errors.ts'

export type WgslValue = string | number | boolean

/** Expands the template. Throws `TweedieError('shader-compile')` for an unusable value or a leftover directive. */
export function wgsl(strings: TemplateStringsArray, ...values: readonly WgslValue[]): string {
  values.forEach((value, i) => {
    const usable = typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
    if (!usable) throw broken(`value ${i} is ${String(value)} after "${strings[i].trimEnd().slice(-40)}"`)
  })
  const text = preprocess(strings, ...values)
  const leftover = /#.*/.exec(text)
  if (leftover) throw broken(`directive "${leftover[0]}" is none of #if, #elif, #else, #endif`)
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
