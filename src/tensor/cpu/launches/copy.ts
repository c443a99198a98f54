import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const copy: Launch<unknown> = () => { throw new TweedieError('unsupported', 'copy is not implemented on the CPU yet') }
