/** The options of `Tweedie`'s calls by name: what is called otherwise is refused, here and by a page's client. */
import type { TweedieOptions } from './load.ts'
import type { TweedieSampleOptions } from './sample-settings.ts'
import type { TweedieScoreOptions } from './score.ts'

type Names<T> = { readonly [K in keyof Required<T>]: true }

/** Of `Tweedie.load`. */
export const loadOptions: Names<TweedieOptions> = {
  preset: true,
  flags: true,
  stateDict: true,
  classifier: true,
  minorityClassifier: true,
  distance: true,
  weights: true,
  device: true,
  batch: true,
  memoryBudget: true,
  cache: true,
  onProgress: true,
  signal: true,
  backend: true,
  threads: true,
  workerUrl: true,
  simd: true,
  gpuDevice: true,
}

/** Of `Tweedie.sample`. */
export const sampleOptions: Names<TweedieSampleOptions> = {
  number: true,
  steps: true,
  seed: true,
  method: true,
  sampler: true,
  eta: true,
  labels: true,
  target: true,
  scale: true,
  classifierTarget: true,
  classifierScale: true,
  selfGuidance: true,
  boost: true,
  skip: true,
  clipDenoised: true,
  guidances: true,
  batch: true,
  preview: true,
  scores: true,
  pushes: true,
  signal: true,
}

/** Of `Tweedie.score` and `Tweedie.reconstruct`. */
export const scoreOptions: Names<TweedieScoreOptions> = {
  seed: true,
  draws: true,
  step: true,
  labels: true,
  clipDenoised: true,
  batch: true,
  onProgress: true,
  signal: true,
}
