/**
 * Metrics: nearest neighbours and quantiles of host arrays, measures of rarity and realism with their intervals, and
 * with a feature net what it has learned and what was learned by heart.
 *
 * @module tweedie/metrics
 */
export { accuracy } from './accuracy.ts'
export { avgKnn, type AvgKnnOptions } from './avg-knn.ts'
export { ballsAround, membership, type BallsAroundOptions, type Membership } from './balls.ts'
export {
  bootstrap,
  bootstrapInterval,
  meanOf,
  type BootstrapOptions,
  type Interval,
  type Measured,
} from './bootstrap.ts'
export { brightness } from './brightness.ts'
export { copying, type Copying, type CopyingOptions } from './copying.ts'
export { coverage, density } from './density-coverage.ts'
export { isCollapsed } from './check.ts'
export { eachBall, kNearest, leastRatio, radii, type BallOptions, type Balls } from './distances.ts'
export { densityCurves, type DensityCurves } from './density-curve.ts'
export {
  distributionOf,
  evaluateSpace,
  rarestOf,
  realRarity,
  type EvaluateOptions,
  type ImageRarity,
  type RealFeatures,
  type RealRarity,
  type SetStatistics,
  type SampleNumbers,
  type SpaceEvaluation,
  type SpaceFeatures,
  type SpaceSets,
} from './evaluate.ts'
export { evaluateBrightness, type BrightnessEvaluation } from './evaluate-brightness.ts'
export { evaluateFeatures, type FeatureEvaluation } from './evaluate-features.ts'
export {
  measures,
  type Distribution,
  type Estimate,
  type EvaluatedSet,
  type EvaluatedSpace,
  type Evaluation,
  type EvaluationSettings,
  type Measurement,
  type MeasureAbout,
  type MeasureName,
  type PrecisionByRarity,
  type RarityName,
  type Reference,
  type ShownSample,
  type ShownSamples,
} from './evaluation.ts'
export { symmetricEigen, type Eigen, type EigenOptions } from './eigen.ts'
export type { FeatureSpace, InceptionPoints, SpaceOptions, SpaceRunOptions } from './feature-space.ts'
export { extrapolateFrechet, type ExtrapolatedFrechet, type ExtrapolateOptions } from './extrapolate-frechet.ts'
export { featureBatch, featuresOf, type FeaturesOptions } from './features.ts'
export { inceptionInput, inceptionInputs, inceptionPreprocessing, type InceptionInput } from './inception-input.ts'
export { frechetDistance, type FrechetDistance } from './frechet.ts'
export { inceptionScore, type InceptionScore, type InceptionScoreOptions } from './inception-score.ts'
export {
  discrepancy,
  kernelDistance,
  type Discrepancy,
  type KernelDistance,
  type KernelDistanceOptions,
} from './kernel-distance.ts'
export { localOutlierFactor, type LofOptions } from './local-outlier-factor.ts'
export { measureFrechet, type MeasuredFrechet, type MeasureFrechetOptions } from './measure-frechet.ts'
export {
  memorizationFigures,
  memorizationLevels,
  nearestInFeatures,
  nearestInPixels,
  type MemorizationFigures,
  type NearestTraining,
  type NearestTrainingOptions,
} from './memorization.ts'
export { featureStatistics, type FeatureStatistics } from './moments.ts'
export {
  countOf,
  nearest,
  Search,
  type Neighbours,
  type NearestOptions,
  type Points,
  type SearchOptions,
} from './nearest.ts'
export { precision } from './precision.ts'
export { quantiles } from './quantiles.ts'
export { rarity, scored } from './rarity.ts'
export { realism } from './realism.ts'
export { principalComponents, type PrincipalComponents } from './principal.ts'
export { openSpace, spaceMemoryOf, spaceNames, type SpaceName } from './spaces.ts'
export {
  encodeStatistics,
  isStatistics,
  readStatistics,
  statisticsBesideImages,
  type StatisticsFile,
} from './statistics-file.ts'
export { nearestPictures, turned, type NearestPictures, type Pictures } from './symmetries.ts'
