/** The common case: load, draw, score. */
export type { DescribedFile, DistanceChoice, MinorityClassifierFile, TweedieOptions } from './load.ts'
export type { Where } from './files.ts'
export type { TweedieSampleOptions, TweedieStep } from './sample.ts'
export type { ScoredPictures, TweedieScoreOptions } from './score.ts'
export { Tweedie } from './tweedie.ts'
