import type { ImageSet } from '../data/index.ts'
import { loadInception, type DescribedSource } from '../nn/index.ts'
import type { Device, Tensor } from '../tensor/index.ts'
import {
  hashing,
  type FeatureSpace,
  type InceptionPoints,
  type SpaceOptions,
  type SpaceRunOptions,
} from './feature-space.ts'
import { inceptionInput, inceptionPreprocessing, type InceptionInput } from './inception-input.ts'
import type { Points } from './nearest.ts'

/** Pictures at a time: the largest maps, 64 channels of 147 x 147, are then 88 MB. */
const batchSize = 16

/** Lengths of the rows: features, the map of sFID, logits. */
const dimensions = { features: 2048, spatial: 2023, logits: 1008 } as const

type Output = keyof typeof dimensions

/** The space of FID, sFID, KID and the Inception Score, with pictures prepared by one of three conventions. */
export async function inceptionSpace(
  device: Device,
  name: string,
  file: DescribedSource,
  input: InceptionInput,
  options: SpaceOptions,
): Promise<FeatureSpace> {
  const { source, weights } = hashing(file)
  const net = await loadInception(device, source, options)

  /** The rows that are wanted; of the others none. */
  async function rows(
    images: ImageSet,
    wanted: readonly Output[],
    { batch = batchSize, signal, onProgress }: SpaceRunOptions = {},
  ): Promise<InceptionPoints> {
    const room = (key: Output): Points => {
      const dimension = dimensions[key]
      return { data: new Float32Array(wanted.includes(key) ? images.length * dimension : 0), dimension }
    }
    const points: InceptionPoints = { features: room('features'), spatial: room('spatial'), logits: room('logits') }
    for (let first = 0; first < images.length; first += batch) {
      signal?.throwIfAborted()
      const count = Math.min(batch, images.length - first)
      using x = device.tensor(await inputs(images, first, count, signal), [count, 3, 299, 299])
      const outputs: Record<Output, Tensor> = device.scope(() => {
        const { features, spatial } = net.forward(x)
        return { features, spatial, logits: net.logits(features) }
      })
      try {
        for (const key of wanted) points[key].data.set(await outputs[key].read(), first * dimensions[key])
      } finally {
        for (const tensor of Object.values(outputs)) tensor.dispose()
      }
      onProgress?.(first + count)
    }
    signal?.throwIfAborted()
    return points
  }

  async function inputs(images: ImageSet, first: number, count: number, signal?: AbortSignal): Promise<Float32Array> {
    const each = 3 * 299 * 299
    const values = new Float32Array(count * each)
    for (let i = 0; i < count; i++) values.set(inceptionInput(await images.read(first + i, signal), input), i * each)
    return values
  }

  const dispose = (): void => net.dispose()
  return {
    name,
    dimension: dimensions.features,
    preprocessing: inceptionPreprocessing(input),
    weights: weights(),
    features: async (images, run) => (await rows(images, ['features'], run)).features,
    spatial: async (images, run) => (await rows(images, ['spatial'], run)).spatial,
    logits: async (images, run) => (await rows(images, ['logits'], run)).logits,
    all: (images, run) => rows(images, ['features', 'spatial', 'logits'], run),
    dispose,
    [Symbol.dispose]: dispose,
  }
}
