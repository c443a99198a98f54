import { TweedieError } from '../errors.ts'

/** Refuses an option. */
export const fail = (message: string): never => {
  throw new TweedieError('option', message)
}
