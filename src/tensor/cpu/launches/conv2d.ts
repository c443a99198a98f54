import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const conv2d: Launch<unknown> = () => { throw new TweedieError('unsupported', 'conv2d is not implemented on the CPU yet') }
export const conv2dDataGrad: Launch<unknown> = () => { throw new TweedieError('unsupported', 'conv2dDataGrad is not implemented on the CPU yet') }
export const conv2dWeightGrad: Launch<unknown> = () => { throw new TweedieError('unsupported', 'conv2dWeightGrad is not implemented on the CPU yet') }
