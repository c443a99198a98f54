import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const gather: Launch<unknown> = () => { throw new TweedieError('unsupported', 'gather is not implemented on the CPU yet') }
export const gatherGrad: Launch<unknown> = () => { throw new TweedieError('unsupported', 'gatherGrad is not implemented on the CPU yet') }
