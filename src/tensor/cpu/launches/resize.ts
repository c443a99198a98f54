import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const resizeBilinear: Launch<unknown> = () => { throw new TweedieError('unsupported', 'resizeBilinear is not implemented on the CPU yet') }
export const resizeBilinearGrad: Launch<unknown> = () => { throw new TweedieError('unsupported', 'resizeBilinearGrad is not implemented on the CPU yet') }
