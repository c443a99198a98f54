import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const reduce: Launch<unknown> = () => { throw new TweedieError('unsupported', 'reduce is not implemented on the CPU yet') }
