import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const map: Launch<unknown> = () => { throw new TweedieError('unsupported', 'map is not implemented on the CPU yet') }
