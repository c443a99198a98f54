/**
 * Files of small networks with weights made by a formula, for the command line: a U-Net of 8 x 8 pictures
 * and what goes with it.
 */
import { encodeSafetensors, writeFileAtomic } from '../src/io/index.node.ts'
import { planOf, stateDictOf, type DiffusionSettings, type ModelConfig } from '../src/nn/index.ts'
import { configMetadata } from '../src/nn/config-metadata.ts'
import { hashes } from './formula.ts'
import { encoderConfig, unetConfig } from './spec-models.ts'

export const cosine: DiffusionSettings = { schedule: 'cosine', diffusionSteps: 1000, rescaleTimesteps: false }

/** U-Net A of spec-models.ts, and the same with three classes. */
export const base: ModelConfig = { kind: 'unet', ...unetConfig }
export const baseOfClasses: ModelConfig = { ...base, numClasses: 3 }
/** Large pictures of 16 x 16 beside small ones. */
export const upsampler: ModelConfig = { ...base, imageSize: 16, superResolution: true }
/** A classifier of ten levels or classes, on pixels. */
export const classifier: ModelConfig = { kind: 'classifier', ...encoderConfig }
/** The same on that classifier's features, which are 64 x 4 x 4. */
export const onFeatures: ModelConfig = {
  ...classifier,
  inChannels: 64,
  imageSize: 4,
  channelMult: [1],
  attentionResolutions: [1],
}

export interface SmallModel {
  readonly diffusion?: DiffusionSettings
  /** Whose weights: another number, other weights. Default 1. */
  readonly seed?: number
  readonly metadata?: Readonly<Record<string, string>>
}

/** Writes a checkpoint as the trainers do. */
export const writeModel = (
  path: string,
  config: ModelConfig,
  { seed = 1, ...rest }: SmallModel = {},
): Promise<string> => writeWeights(path, config, { '': seed }, rest)

/** Writes one with several weights, each seed's under names that begin so. */
export async function writeWeights(
  path: string,
  config: ModelConfig,
  seeds: Readonly<Record<string, number>>,
  { diffusion = cosine, metadata = {} }: Omit<SmallModel, 'seed'> = {},
): Promise<string> {
  const tensors = Object.entries(seeds).flatMap(([prefix, seed]) => {
    const fill = hashes(seed)
    return [...stateDictOf(planOf(config))].map(
      ([key, shape], j) => [`${prefix}${key}`, { shape, data: fill(key, shape, j) }] as const,
    )
  })
  await writeFileAtomic(path, encodeSafetensors(tensors, { ...configMetadata(config, diffusion), ...metadata }))
  return path
}
