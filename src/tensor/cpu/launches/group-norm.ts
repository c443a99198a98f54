import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const groupNorm: Launch<unknown> = () => { throw new TweedieError('unsupported', 'groupNorm is not implemented on the CPU yet') }
export const groupNormDataGrad: Launch<unknown> = () => { throw new TweedieError('unsupported', 'groupNormDataGrad is not implemented on the CPU yet') }
export const groupNormSums: Launch<unknown> = () => { throw new TweedieError('unsupported', 'groupNormSums is not implemented on the CPU yet') }
