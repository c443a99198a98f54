import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const maxPool: Launch<unknown> = () => { throw new TweedieError('unsupported', 'maxPool is not implemented on the CPU yet') }
export const maxPoolGrad: Launch<unknown> = () => { throw new TweedieError('unsupported', 'maxPoolGrad is not implemented on the CPU yet') }
export const windowSpread: Launch<unknown> = () => { throw new TweedieError('unsupported', 'windowSpread is not implemented on the CPU yet') }
export const windowSum: Launch<unknown> = () => { throw new TweedieError('unsupported', 'windowSum is not implemented on the CPU yet') }
