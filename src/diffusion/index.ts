/**
 * The diffusion process, its samplers and guidances, and the minority score.
 *
 * @module tweedie/diffusion
 */
export { attributeGuidance, attributeLogProbability, randomAttributes, type AttributeGuidanceOptions } from './attribute-guidance.ts'
export { classifierMetadata, encodeClassifierMetadata, type ClassifierKind, type ClassifierMetadata } from './classifier-metadata.ts'
export { lossTypeOf, trainingLosses, type LossType, type TrainingLosses, type TrainingLossOptions } from './losses.ts'
export { qSampleEach } from './per-sample.ts'
export { approxStandardNormalCdf, discretizedGaussianLogLikelihood, normalKl } from './variational-bound.ts'
export { greyRangeOf, greyRanges, l1, l2, perceptual, pNorm, squaredL2, type Distance, type GreyRange } from './distance.ts'
export type { Denoiser, DenoiserLike, DenoisingModel } from './denoiser.ts'
export { diffusionOf, processOf, type DescribedProcess, type DiffusionOfOptions } from './diffusion-of.ts'
export { GaussianDiffusion, type DenoisedOptions, type DiffusionOptions, type MeanType, type MeanVariance, type VarianceType } from './gaussian-diffusion.ts'
export { classifierGuidance, logDensityGuidance, type ClassifierGuidanceOptions, type Guidance } from './guidance.ts'
export { classifierLogits, featureShape, type ClassifierLogitsOptions, type Logits, type LogitsLike } from './logits.ts'
export { tiltedGuidance, uniformTargets, type SampleStream, type TiltedGuidanceOptions } from './minority-guidance.ts'
export { equalWidthLabels, quantileLabels } from './labels.ts'
export {
  checkFingerprint, encodeMinorityLabels, encodeMinorityScores, minorityLabels, parseMinorityLabels, parseMinorityScores, scoreSettings,
  type LabelOptions, type MinorityLabels, type MinorityScores, type ScoredWith, type ScoreSettings,
} from './minority-files.ts'
export {
  minorityScore, scoreIndex, scoreProcess, scoreRespacing, tweedieReconstruction, type MinorityScoreOptions, type ReconstructionOptions, type ScoreProcess, type ScoreStep,
} from './minority-score.ts'
export { encodeMarginal, MarginalFit, marginalSkip, marginalStart, readMarginal, type Marginal } from './marginal.ts'
export { encodeMinorityMetadata, minorityMetadata, type MinorityMetadata } from './minority-metadata.ts'
export { GeneratedNoise, GivenNoise, type GeneratedNoiseOptions, type NoiseSource } from './noise.ts'
export { respace, spaceTimesteps, type RespacedProcess, type RespaceOptions, type Respacing } from './respace.ts'
export type { InvertOptions, SampleOptions, SampleStep, SampleToEndOptions } from './sample-options.ts'
export { ddimInvert, oneStep, sample, sampleLoop } from './sampler.ts'
export { betaSchedule, diffusionTables, type DiffusionTables } from './schedule.ts'
export { scoreImages, type ConditionalDenoiser, type ImageSource, type ScoredImages, type ScoreImagesOptions } from './score-images.ts'
export { classMeans, pooledFeatures, sehwagGuidance, type Embedding, type LabelledBatch, type SehwagOptions } from './sehwag.ts'
export { lastGuided, selfGuidance, selfGuidanceMetric, type SelfGuidance, type SelfGuidanceMetricOptions, type SelfGuidanceOptions } from './self-guidance.ts'
export { lowResolution, superResolutionDenoiser } from './super-resolution.ts'
export { createNamedScheduleSampler, LossSecondMomentResampler, UniformSampler, type LossSecondMomentOptions, type ScheduleSampler } from './schedule-sampler.ts'
export { calcBpd, type BitsPerDim, type BitsPerDimOptions } from './bits-per-dim.ts'
