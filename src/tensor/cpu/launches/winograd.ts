import type { View } from '../../backend.ts'
import type { Encoder } from '../launch.ts'
import type { ConvForwardParams, ConvGradParams } from '../../ops/conv2d.ts'

/** Each returns false where Winograd does not apply or does not pay; nothing is enqueued then. */
export function winogradForward(_encoder: Encoder, _params: ConvForwardParams, _inputs: readonly View[], _outputs: readonly View[]): boolean {
  return false
}

export function winogradDataGrad(_encoder: Encoder, _params: ConvGradParams, _inputs: readonly View[], _outputs: readonly View[]): boolean {
  return false
}

export function winogradWeightGrad(_encoder: Encoder, _params: ConvGradParams, _inputs: readonly View[], _outputs: readonly View[]): boolean {
  return false
}
