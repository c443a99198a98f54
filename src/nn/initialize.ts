import {
  expression,
  f,
  full,
  map,
  mul,
  randomBits,
  randomNormal,
  splitSeed,
  type Device,
  type Tensor,
} from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { Plan } from './plan.ts'
import { stateDictOf } from './state-dict.ts'

/** 32 random bits to a number in [-bound, bound). */
export const uniformWithin = expression(1, 1, ([bits], [bound]) => f.mul(bound, f.sub(f.mul(bits, 2 ** -31), 1)))

/**
 * Parameters of an untrained network, as guided-diffusion's constructors leave them (nn.py `zero_module`): convolutions
 * and linear layers uniform in +-1/sqrt(fan_in), weight and bias; norms 1 and 0; embeddings standard normal; and zero
 * where a block must begin as the identity (the last convolution of a residual block, `proj_out`, the U-Net's output).
 *
 * They are under their state-dict names, in that order, and belong to the caller. The same seed gives the same bits on
 * every device.
 */
export function initializeParameters(device: Device, plan: Plan, seed: number): Map<string, Tensor> {
  const shapes = stateDictOf(plan)
  const words = splitSeed(seed)
  const parameters = new Map<string, Tensor>()
  const index = device.keep(device.tensor([0], [1], 'u32'))
  try {
    let draw = 0
    for (const [key, shape] of shapes) {
      const stream = { seed: words, draw: draw++, purpose: purposes.parameters, shape }
      parameters.set(key, device.keep(device.scope(() => initial(key, shape, stream))))
    }
  } finally {
    index.dispose()
  }
  return parameters

  function initial(key: string, shape: readonly number[], stream: Parameters<typeof randomNormal>[1]): Tensor {
    const layer = key.slice(0, key.lastIndexOf('.'))
    const alias = (x: Tensor): Tensor => device.track(x.alias(shape))
    if (key.endsWith('.positional_embedding')) return mul(alias(randomNormal(index, stream)), shape[0] ** -0.5)
    if (layer === 'label_emb') return alias(randomNormal(index, stream))
    const weight = shapes.get(`${layer}.weight`)!
    const isWeight = key.endsWith('.weight')
    if (weight.length === 1) return full(device, shape, isWeight ? 1 : 0)
    if (startsAtZero(plan, layer)) return full(device, shape, 0)
    const fanIn = weight.slice(1).reduce((product, n) => product * n, 1)
    return alias(map(uniformWithin, [randomBits(index, stream)], [fanIn ** -0.5]))
  }
}

/** The layers that the reference wraps in `zero_module`. */
function startsAtZero(plan: Plan, layer: string): boolean {
  if (layer.endsWith('.out_layers.3') || layer.endsWith('.proj_out')) return true
  return plan.kind === 'unet' ? layer === 'out.2' : plan.head.pool === 'adaptive' && layer === 'out.3'
}
