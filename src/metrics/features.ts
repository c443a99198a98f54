import type { FeatureNet } from '../nn/feature-net.ts'
import type { Device } from '../tensor/index.ts'
import type { Points } from './nearest.ts'

/** Options of {@link featuresOf} and of `evaluateFeatures`, which is made of it. */
export interface FeaturesOptions {
  /** Side of the pictures. */
  readonly size: number
  readonly signal?: AbortSignal
  /** Called with the number of pictures done. */
  readonly onProgress?: (done: number) => void
}

/** Pictures at a time: 256 maps of 24 channels and 32 x 32 places are 25 MB. */
export const featureBatch = 256

/**
 * The feature vectors of `count` pictures, on the host. `load` gives those number `first` to `first + count - 1`,
 * [count, C, size, size] in [-1, 1].
 */
export async function featuresOf(
  device: Device,
  net: FeatureNet,
  count: number,
  load: (first: number, count: number) => Promise<Float32Array>,
  { size, signal, onProgress }: FeaturesOptions,
): Promise<Points> {
  const {
    dimension,
    config: { inChannels },
  } = net
  const data = new Float32Array(count * dimension)
  for (let first = 0; first < count; first += featureBatch) {
    const n = Math.min(featureBatch, count - first)
    using x = device.tensor(await load(first, n), [n, inChannels, size, size])
    using features = net.features(x)
    data.set(await features.read(), first * dimension)
    signal?.throwIfAborted()
    onProgress?.(first + n)
  }
  return { data, dimension }
}
