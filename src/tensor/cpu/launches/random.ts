import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const randomBits: Launch<unknown> = () => { throw new TweedieError('unsupported', 'randomBits is not implemented on the CPU yet') }
export const randomNormal: Launch<unknown> = () => { throw new TweedieError('unsupported', 'randomNormal is not implemented on the CPU yet') }
