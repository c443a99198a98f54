/**
 * The diffusion process, its samplers and guidances, and the minority score.
 *
 * @module tweedie/diffusion
 */
export {
  attributeGuidance,
  attributeLogProbability,
  randomAttributes,
  type AttributeGuidanceOptions,
} from './guidance/attribute-guidance.ts'
export {
  classifierMetadata,
  encodeClassifierMetadata,
  type ClassifierKind,
  type ClassifierMetadata,
} from './minority/classifier-metadata.ts'
export {
  lossTypeOf,
  trainingLosses,
  type LossType,
  type TrainingLosses,
  type TrainingLossOptions,
} from './process/losses.ts'
export { qSampleEach } from './process/per-sample.ts'
export { approxStandardNormalCdf, discretizedGaussianLogLikelihood, normalKl } from './process/variational-bound.ts'
export {
  greyRangeOf,
  greyRanges,
  l1,
  l2,
  perceptual,
  pNorm,
  squaredL2,
  type Distance,
  type GreyRange,
} from './guidance/distance.ts'
export type { Denoiser, DenoiserLike, DenoisingModel, Remembering } from './process/denoiser.ts'
export { diffusionOf, processOf, type DescribedProcess, type DiffusionOfOptions } from './process/diffusion-of.ts'
export {
  GaussianDiffusion,
  type DenoisedOptions,
  type DiffusionOptions,
  type MeanType,
  type MeanVariance,
  type VarianceType,
} from './process/gaussian-diffusion.ts'
export {
  classifierGuidance,
  logDensityGuidance,
  type ClassifierGuidanceOptions,
  type Guidance,
} from './guidance/guidance.ts'
export {
  classifierLogits,
  featureShape,
  type ClassifierLogitsOptions,
  type Logits,
  type LogitsLike,
} from './guidance/logits.ts'
export {
  tiltedGuidance,
  uniformTargets,
  type SampleStream,
  type TiltedGuidanceOptions,
} from './guidance/minority-guidance.ts'
export { equalWidthLabels, quantileLabels, type ScoreLabels } from './minority/labels.ts'
export {
  checkFingerprint,
  encodeMinorityLabels,
  encodeMinorityScores,
  minorityLabels,
  parseMinorityLabels,
  parseMinorityScores,
  scoreSettings,
  type LabelOptions,
  type MinorityLabels,
  type MinorityScores,
  type ScoredWith,
  type ScoreSettings,
} from './minority/minority-files.ts'
export {
  minorityScore,
  scoreIndex,
  scoreProcess,
  scoreRespacing,
  tweedieReconstruction,
  type MinorityScoreOptions,
  type ReconstructionOptions,
  type ScoreProcess,
  type ScoreStep,
} from './minority/minority-score.ts'
export {
  encodeMarginal,
  MarginalFit,
  marginalSkip,
  marginalStart,
  readMarginal,
  type Marginal,
} from './process/marginal.ts'
export { encodeMinorityMetadata, minorityMetadata, type MinorityMetadata } from './minority/minority-metadata.ts'
export { GeneratedNoise, GivenNoise, type GeneratedNoiseOptions, type NoiseSource } from './process/noise.ts'
export { replayable, type Replayable } from './process/replayable.ts'
export {
  respace,
  spaceTimesteps,
  type RespacedProcess,
  type RespaceOptions,
  type Respacing,
} from './process/respace.ts'
export type { InvertOptions, SampleOptions, SampleStep, SampleToEndOptions } from './sampling/sample-options.ts'
export { ddimInvert, oneStep, sample, sampleLoop, type OneStep } from './sampling/sampler.ts'
export { samplerNames, type Sampler } from './sampling/samplers.ts'
export { betaSchedule, diffusionTables, type DiffusionTables } from './process/schedule.ts'
export {
  scoreImages,
  type ConditionalDenoiser,
  type ImageSource,
  type ScoredImages,
  type ScoreImagesOptions,
} from './minority/score-images.ts'
export {
  classMeans,
  pooledFeatures,
  sehwagGuidance,
  type Embedding,
  type LabelledBatch,
  type SehwagOptions,
} from './guidance/sehwag.ts'
export {
  lastGuided,
  selfGuidance,
  selfGuidanceMetric,
  type SelfGuidance,
  type SelfGuidanceMetricOptions,
  type SelfGuidanceOptions,
} from './guidance/self-guidance.ts'
export { areaDownsample, lowResolution, superResolutionDenoiser } from './process/super-resolution.ts'
export {
  createNamedScheduleSampler,
  LossSecondMomentResampler,
  UniformSampler,
  type LossSecondMomentOptions,
  type ScheduleSampler,
} from './process/schedule-sampler.ts'
export { calcBpd, type BitsPerDim, type BitsPerDimOptions } from './process/bits-per-dim.ts'
