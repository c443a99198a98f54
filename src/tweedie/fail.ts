import { named, TweedieError } from '../errors.ts'

/** Refuses an option. */
export const fail = (message: string): never => {
  throw new TweedieError('option', message)
}

/** The value of a counting option; refuses any other. */
export const wholeOf = (name: string, value: number): number =>
  Number.isInteger(value) && value >= 1
    ? value
    : fail(`${name}: expected a whole number of 1 or more, found ${named(value)}.`)
