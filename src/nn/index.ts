/**
 * The networks: ADM U-Net, ADM classifier, LPIPS, their published configurations and their state dicts.
 *
 * @module tweedie/nn
 */
export { Classifier, type ClassifierInputs } from './classifier.ts'
export { checkConfig, levelRates, meanTypes } from './config.ts'
export type {
  ClassifierConfig,
  DiffusionProcess,
  DiffusionSettings,
  MeanType,
  ModelConfig,
  NoiseProcess,
  NoiseSchedule,
  Pool,
  TrunkConfig,
  UNetConfig,
  VarianceType,
} from './config.ts'
export { isSameNoise, noiseInWords } from './config.ts'
export type { BlockOptions, Dropout, Parameters } from './layers.ts'
export { configMetadata } from './config-metadata.ts'
export {
  configOfFlags,
  readFlags,
  type FlaggedNetwork,
  type FlagsConfig,
  type FlagsOptions,
  type FlagsReader,
} from './flags.ts'
export {
  FeatureNet,
  featureNetConfigOf,
  featureNetImageSize,
  featureNetMemoryOf,
  featureNetMetadata,
  featureNetStateDict,
  loadFeatureNet,
  type FeatureNetConfig,
} from './feature-net.ts'
export {
  inception,
  inceptionLogits,
  loadInception,
  type Inception,
  type InceptionOptions,
  type InceptionOutputs,
} from './inception.ts'
export {
  inceptionPlan,
  inceptionStateDict,
  type InceptionLayer,
  type InceptionPool,
  type InceptionStep,
  type InceptionUnit,
} from './inception-plan.ts'
export { initializeParameters } from './initialize.ts'
export { loadParameters, type LoadOptions, type WeightEntry, type WeightSource } from './load.ts'
export { loadLpips, lpips, lpipsTaps, type Lpips, type LpipsOptions } from './lpips.ts'
export { lpipsStateDict, type LpipsNet } from './lpips-plan.ts'
export { lpipsMemoryOf, memoryOf, type Memory, type MemoryOptions } from './memory.ts'
export {
  checkLearnSigma,
  describeModel,
  loadModel,
  type DescribedSource,
  type DescribeOptions,
  type ModelDescription,
} from './model.ts'
export { parseConfig, parseDiffusionSettings } from './parse-config.ts'
export { planOf, type Plan } from './plan.ts'
export { preset, type Preset } from './preset.ts'
export { presetNames, type NetworkPreset } from './presets.ts'
export {
  published,
  publishedScoreDistance,
  publishedSelfDistance,
  publishedTraining,
  unpublished,
  type ClassifierTraining,
  type DiffusionTraining,
  type SamplingHints,
} from './published.ts'
export { presetsLike, presetsWith } from './recognize.ts'
export {
  loadResNet,
  randomResNet,
  ResNet,
  resNet18ToLayer3,
  resNet50,
  resNetFoldedStateDict,
  resNetNorms,
  resNetStateDict,
  type ResNetConfig,
} from './resnet.ts'
export { checkStateDict, parameterCount, stateDictOf } from './state-dict.ts'
export { timestepEmbedding } from './timestep-embedding.ts'
export { UNet, type UNetInputs } from './unet.ts'
export { loadVgg16, randomVgg16, Vgg16, vgg16FeatureStateDict, vgg16StateDict } from './vgg.ts'
export { loadViT, viTB16, viTConfigOf, viTS16, viTStateDict, ViT, type ViTConfig } from './vit.ts'
export { randomParameters, type RandomRule } from './random-network.ts'
