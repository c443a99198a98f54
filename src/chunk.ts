import { messageOf, TweedieError, type ErrorCode } from './errors.ts'

/**
 * A part of the program that is loaded when it is needed, by `import()`; bundlers make a chunk of it. What a page finds
 * no longer on its server, say after an update, is a typed error.
 */
export const chunk = <T>(code: ErrorCode, what: string, loading: Promise<T>): Promise<T> =>
  loading.catch((cause: unknown) => {
    throw new TweedieError(code, `The code ${what} does not load (${messageOf(cause)}): load the page again.`, {
      cause,
    })
  })
