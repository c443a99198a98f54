import { TweedieError } from '../../../errors.ts'
import type { Launch } from '../launch.ts'

export const attention: Launch<unknown> = () => { throw new TweedieError('unsupported', 'attention is not implemented on the CPU yet') }
export const attentionGrad: Launch<unknown> = () => { throw new TweedieError('unsupported', 'attentionGrad is not implemented on the CPU yet') }
