import './dispose.ts'
import { shownMessage } from './printable.ts'

/** What went wrong, for `switch`. */
export type ErrorCode =
  /** No WebGPU adapter, or the `webgpu` package is not installed. */
  | 'webgpu-unavailable'
  /** The CPU backend cannot run here: no WebAssembly SIMD (or relaxed SIMD, if asked for), or no worker may start. */
  | 'cpu-unavailable'
  /** The worker of a `TweedieClient` does not start: its script is not there, not allowed, or workers are not. */
  | 'worker-unavailable'
  /** The device was lost (driver reset, unplugged, destroyed by its owner), or a worker thread died. */
  | 'device-lost'
  /** The device could not allocate a buffer, or a model needs more memory than it has. */
  | 'out-of-memory'
  /** A buffer, binding or dispatch is larger than the device allows. */
  | 'limit-exceeded'
  /** A kernel did not compile on this device. */
  | 'shader-compile'
  /** The device refused a command: a defect of this library or of the driver. */
  | 'device-error'
  /** A tensor, tape or device was used after it was disposed. */
  | 'disposed'
  /** Shapes or data types of an operation do not fit together. */
  | 'shape'
  /** The operation has no gradient, or what was asked for is not supported. */
  | 'unsupported'
  /** A checkpoint lacks tensors, has others, or has them in other shapes. */
  | 'weights'
  /** A file is broken, of another format, or names something that is not allowed. */
  | 'format'
  /** The browser's store has no room for a file, or fails. */
  | 'storage'
  /** NaN or infinity where a finite number belongs. */
  | 'non-finite'
  /** An option is missing, unknown, or out of range. */
  | 'option'

/**
 * The one error type of the library. Every failure a caller can act on is one: its `code` is stable and made for
 * `switch`, its message says what was expected, what was found and what to do. An abort is no error of ours: it rejects
 * with `signal.reason`, as everywhere on the web. Messages quote files: they are bounded in length, and control
 * characters in them are escaped.
 *
 * ```ts
 * try { await Tweedie.load(path) } catch (error) {
 *   if (error instanceof TweedieError && error.code === 'out-of-memory') …
 * }
 * ```
 */
export class TweedieError extends Error {
  override readonly name = 'TweedieError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(shownMessage(message), options)
    this.code = code
  }
}

/**
 * The error for a value that does not belong where it is: `add: expected a tensor, found an array`, and of a Promise,
 * whether an `await` was forgotten. A sentence on what to do may follow.
 */
export function unexpected(user: string, expected: string, value: unknown, remedy = ''): TweedieError {
  return new TweedieError(
    'option',
    `${user}: expected ${expected}, found ${named(value)}` +
      `${isPromise(value) ? ': did you forget await?' : `.${remedy && ` ${remedy}`}`}`,
  )
}

/** Throws 'option' for the first of these values, by name, that is a Promise: somebody forgot to wait for it. */
export function checkAwaited(user: string, values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values))
    if (isPromise(value)) throw unexpected(user, `the ${name} itself`, value)
}

/**
 * The same promise, which asks about a forgotten `await` where its result's members are looked up on it: JavaScript
 * says "dv.tensor is not a function".
 */
export function asksForAwait<T>(
  promise: Promise<T>,
  name: string,
  { prototype }: { readonly prototype: object },
): Promise<T> {
  for (const key of [...Object.getOwnPropertyNames(prototype), Symbol.dispose]) {
    if (key in promise) continue
    const get = (): never => {
      throw new TweedieError(
        'option',
        `${name}.${String(key)}: this is still the Promise of a ${name}: did you forget await?`,
      )
    }
    Object.defineProperty(promise, key, { get, configurable: true })
  }
  return promise
}

const isPromise = (value: unknown): boolean =>
  typeof (value as { then?: unknown } | null | undefined)?.then === 'function'

/** What was thrown, in words: an error's message, anything else as text. */
export const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** A value in a message: `"text"`, 3, an array, a Tensor. */
export function named(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return 'an array'
  const name = value.constructor?.name
  return name && name !== 'Object' ? `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}` : 'an object'
}
