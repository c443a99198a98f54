/**
 * Metrics: nearest neighbours and quantiles of host arrays, and with a feature net what it has learned and what
 * was learned by heart.
 *
 * @module tweedie/metrics
 */
export { eachBall, kNearest, leastRatio, radii, type BallOptions, type Balls } from './distances.ts'
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
export { featureBatch, featuresOf, type FeaturesOptions } from './features.ts'
export {
  memorizationFigures,
  memorizationLevels,
  nearestInFeatures,
  nearestInPixels,
  type MemorizationFigures,
  type NearestTraining,
  type NearestTrainingOptions,
} from './memorization.ts'
export {
  avgKnn,
  countOf,
  nearest,
  Search,
  type Neighbours,
  type NearestOptions,
  type Points,
  type SearchOptions,
} from './nearest.ts'
export { quantiles } from './quantiles.ts'
export { encodeStatistics, isStatistics, readStatistics, type Moments, type StatisticsFile } from './statistics-file.ts'
export { nearestPictures, turned, type NearestPictures, type Pictures } from './symmetries.ts'
