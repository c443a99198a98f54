import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const softmax: Launch<unknown> = () => { throw new TweedieError('unsupported', 'softmax is not implemented on the CPU yet') }
