/** The common case: load, draw, score. */
export type { DescribedFile, DistanceChoice, MinorityClassifierFile, TweedieOptions } from './load.ts'
export type { Where } from './files.ts'
export type { RunRecord } from './run-record.ts'
export type { TweedieSampleOptions } from './sample-settings.ts'
export type { TweedieStep } from './sample.ts'
export type { ScoredPictures, TweedieScoreOptions } from './score.ts'
export { Tweedie } from './tweedie.ts'
