/** Convolution and its gradients: Winograd's way where it is faster, else the direct one. */
import type { ConvForwardParams, ConvGradParams } from '../../ops/conv2d.ts'
import type { Launch } from '../launch.ts'
import { convShape } from '../../conv-shape.ts'
import { directDataGrad, directForward } from './conv2d-direct.ts'
import { directWeightGrad } from './conv2d-weight-gradient.ts'
import { winogradDataGrad, winogradForward, winogradWeightGrad } from './winograd.ts'

export const conv2d: Launch<ConvForwardParams> = (encoder, params, inputs, outputs) => {
  if (winogradForward(encoder, params, inputs, outputs)) return
  const [[x, weight, ...optional], [y]] = [inputs, outputs]
  const bias = params.bias ? optional[0] : undefined
  const residual = params.residual ? optional[optional.length - 1] : undefined
  directForward(encoder, convShape(x, weight, y, params), x, weight, y, bias, residual)
}

export const conv2dDataGrad: Launch<ConvGradParams> = (encoder, params, inputs, outputs) => {
  if (winogradDataGrad(encoder, params, inputs, outputs)) return
  const [[dy, weight], [dx]] = [inputs, outputs]
  directDataGrad(encoder, convShape(dx, weight, dy, params), dy, weight, dx)
}

export const conv2dWeightGrad: Launch<ConvGradParams> = (encoder, params, inputs, outputs) => {
  if (winogradWeightGrad(encoder, params, inputs, outputs)) return
  const [[x, dy], [dw]] = [inputs, outputs]
  directWeightGrad(encoder, convShape(x, dw, dy, params), x, dy, dw)
}
