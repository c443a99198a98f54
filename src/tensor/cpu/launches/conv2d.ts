/** Convolution and its gradients: Winograd's way where it is faster, else the direct one. */
import { TweedieError } from '../../../errors.ts'
import type { ConvForwardParams, ConvGradParams } from '../../ops/conv2d.ts'
import type { Launch } from '../launch.ts'
import { winogradDataGrad, winogradForward, winogradWeightGrad } from './winograd.ts'

const missing = (): never => { throw new TweedieError('unsupported', 'direct convolutions are not implemented on the CPU yet') }

export const conv2d: Launch<ConvForwardParams> = (encoder, params, inputs, outputs) => {
  if (!winogradForward(encoder, params, inputs, outputs)) missing()
}

export const conv2dDataGrad: Launch<ConvGradParams> = (encoder, params, inputs, outputs) => {
  if (!winogradDataGrad(encoder, params, inputs, outputs)) missing()
}

export const conv2dWeightGrad: Launch<ConvGradParams> = (encoder, params, inputs, outputs) => {
  if (!winogradWeightGrad(encoder, params, inputs, outputs)) missing()
}
