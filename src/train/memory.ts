/**
 * How much memory a training takes, from the layout of its network alone, so that it can be refused before it begins.
 */
import { featureNetMemoryOf, featureNetStateDict, type FeatureNetConfig } from '../nn/feature-net.ts'
import { memoryOf, parameterCount, type ModelConfig } from '../nn/index.ts'
import type { WeightSource } from '../nn/index.ts'
import type { DeviceNeed } from '../tensor/index.ts'
import type { TrainOptions } from './trainer.ts'

/**
 * What the training of a U-Net or a classifier takes: a step of a micro-batch with its gradients (`memoryOf`), AdamW's
 * two moments, and the averages. Gradients are there twice: as the backward pass makes them, and one after another; a
 * third time where a batch is cut, as the sum of the micro-batches before.
 *
 * @throws TweedieError 'option' where no network can be built from the configuration
 * @example await Device.request({ need: trainingMemoryOf(config, { batch: 32, steps: 1000, lr: 1e-4 }) })
 */
export function trainingMemoryOf(
  config: ModelConfig,
  { batch, microbatch = batch, emaRates = [] }: TrainOptions,
): DeviceNeed {
  const { bytes, largestBuffer, weights } = memoryOf(config, { batch: Math.min(batch, microbatch), parameters: true })
  const copies = 3 + emaRates.length + Number(microbatch < batch)
  return { bytes: bytes + copies * weights, largestBuffer }
}

/**
 * What the training of a feature net on pictures of side `size` takes. Its weights are few beside its maps, so there is
 * room for all that AdamW may keep of them: two sets of gradients, two moments and an average. Each of the 2 * batch
 * views is compared with each, which makes 8 tables on the way to the loss and back.
 */
export function featureTrainingMemoryOf(
  config: FeatureNetConfig,
  { batch, size }: { readonly batch: number; readonly size: number },
): DeviceNeed {
  const { bytes, largestBuffer } = featureNetMemoryOf(config, { batch, gradient: true, size: [size, size] })
  const weights = 4 * parameterCount(featureNetStateDict(config))
  const table = 4 * (2 * batch) ** 2
  return { bytes: bytes + 5 * weights + 8 * table, largestBuffer }
}

/**
 * What the training of a vision transformer with its teacher takes, from the shapes of its file: six copies of the
 * weights (student, teacher, two moments, two sets of gradients), and of every token of `batch` pictures, twice, what a
 * block's gradient reads: some 24 vectors of its length.
 */
export function viTTrainingMemoryOf(
  { tensors }: Pick<WeightSource, 'tensors'>,
  { batch, size, patch }: { readonly batch: number; readonly size: number; readonly patch: number },
): DeviceNeed {
  const shapes = [...tensors].map(([key, { shape }]) => ({ key, floats: shape.reduce((a, b) => a * b, 1) }))
  const weights = 4 * shapes.reduce((sum, { floats }) => sum + floats, 0)
  const dim = shapes.find(({ key }) => key.endsWith('cls_token'))?.floats ?? 0
  const blocks = shapes.filter(({ key }) => key.endsWith('.norm1.weight')).length
  const token = 4 * 2 * batch * ((size / patch) ** 2 + 1) * dim
  return {
    bytes: 6 * weights + 24 * blocks * token,
    largestBuffer: Math.max(4 * token, ...shapes.map(({ floats }) => 4 * floats)),
  }
}
