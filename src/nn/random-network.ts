import { full, mul, randomNormal, reshape, splitSeed, type Device, type Shape, type Tensor } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'

/** How a tensor of a random network begins: drawn from a normal distribution of this deviation, or one number. */
export type RandomRule = (key: string, shape: Shape) => { readonly deviation: number } | { readonly value: number }

/**
 * Weights of a network that is random on purpose: as a feature space it knows nothing of photographs, which is why the
 * papers measure MRI in one. Tensor number j of the state dict takes draw j of the seed, so the same seed gives the
 * same network on every device. They are under their names, and belong to the caller.
 */
export function randomParameters(
  device: Device,
  stateDict: ReadonlyMap<string, Shape>,
  seed: number,
  rule: RandomRule,
): Map<string, Tensor> {
  const parameters = new Map<string, Tensor>()
  const stream = { seed: splitSeed(seed), purpose: purposes.randomNetwork }
  const index = device.keep(device.tensor([0], [1], 'u32'))
  const drawn = (shape: Shape, draw: number, deviation: number): Tensor => {
    const normal = randomNormal(index, { ...stream, draw, shape })
    return mul(reshape(normal, shape), deviation)
  }
  try {
    for (const [key, shape] of stateDict) {
      const start = rule(key, shape)
      const made = device.scope(() =>
        'value' in start ? full(device, shape, start.value) : drawn(shape, parameters.size, start.deviation),
      )
      parameters.set(key, device.keep(made))
    }
    return parameters
  } catch (error) {
    for (const tensor of parameters.values()) tensor.dispose()
    throw error
  } finally {
    index.dispose()
  }
}

/** He et al. 2015's deviation by the number of outputs, as torchvision begins its convolutions ahead of a ReLU. */
export const fanOutDeviation = ([out, , height, width]: Shape): number => Math.sqrt(2 / (out * height * width))
