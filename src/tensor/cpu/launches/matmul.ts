import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const matmul: Launch<unknown> = () => { throw new TweedieError('unsupported', 'matmul is not implemented on the CPU yet') }
