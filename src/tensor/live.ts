/**
 * What changes from one replay of a recorded program to the next, while its kernels and buffers stay: see
 * `Device.record`.
 */

/**
 * A value, or the function that gives it. A program that `Device.record` made asks such a function again at every
 * replay; everything else that was no tensor is what it was when it was recorded.
 */
export type Live<T> = T | (() => T)

let asked = 0

/** The value at this moment. */
export function now<T>(live: Live<T>): T {
  if (typeof live !== 'function') return live
  asked++
  try {
    return (live as () => T)()
  } finally {
    asked--
  }
}

/** `f` of a value, at each time that it is asked for. */
export const liveOf = <T, U>(live: Live<T>, f: (value: T) => U): Live<U> =>
  typeof live === 'function' ? () => f((live as () => T)()) : f(live)

/** Whether a {@link Live} function is being asked: the only time at which the number of a step is to be seen. */
export const isAsked = (): boolean => asked > 0
