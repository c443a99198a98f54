/**
 * What `tweedie evaluate` found: plain numbers and words, the contents of evaluation.json and all that its page draws.
 */

/** A number with the bounds of its interval; null bounds where it has none. */
export interface Estimate {
  readonly value: number
  readonly low: number | null
  readonly high: number | null
  /** Set where a warning says that the number is not to be compared. */
  readonly doubtful?: true
}

/** How a measure is told to people. */
export interface MeasureAbout {
  readonly title: string
  /**
   * Which of two values is better; null where neither is: noise is rarer than any image, so that how rare samples are
   * says nothing without how real they are.
   */
  readonly better: 'higher' | 'lower' | null
}

/** The measures, in the order of tables. */
export const measures = {
  frechet: { title: 'Fréchet distance', better: 'lower' },
  frechetExtrapolated: { title: 'Fréchet distance, n → ∞', better: 'lower' },
  spatialFrechet: { title: 'spatial Fréchet distance', better: 'lower' },
  kid: { title: 'KID', better: 'lower' },
  inceptionScore: { title: 'Inception Score', better: 'higher' },
  precision: { title: 'precision', better: 'higher' },
  recall: { title: 'recall', better: 'higher' },
  density: { title: 'density', better: 'higher' },
  coverage: { title: 'coverage', better: 'higher' },
  realism: { title: 'realism, median', better: 'higher' },
  avgknn: { title: 'AvgkNN', better: null },
  lof: { title: 'LOF', better: null },
  rarity: { title: 'Rarity Score', better: null },
  outside: { title: 'outside all balls', better: null },
  copies: { title: 'exact copies of real images', better: null },
  copying: { title: 'C_T, below -3 copied', better: null },
  brightness: { title: 'brightness', better: null },
  accuracy: { title: "classifier's accuracy", better: 'higher' },
} as const satisfies Record<string, MeasureAbout>

/** The key of a measure in {@link measures}. */
export type MeasureName = keyof typeof measures

/** What each image has a number of: how rare it is in a feature space, or by the model's minority score. */
export type RarityName = 'avgknn' | 'lof' | 'rarity' | 'score'

/** A set of images that was looked at. */
export interface EvaluatedSet {
  /** A short name for tables and legends, unique among the methods. */
  readonly name: string
  /** The path it was opened from. */
  readonly path: string
  /** How many; null where only their statistics were given. */
  readonly images: number | null
  /** SHA-256 of its contents, or of the file of statistics. */
  readonly fingerprint: string
  /** Files that cannot be read as images, where some were left out. */
  readonly leftOut?: readonly string[]
}

/** The real images that distances, precision and recall are measured to. */
export interface Reference {
  /** How many; null where only statistics of them were given. */
  readonly images: number | null
  /** By what the rarest were chosen; null: all real images are the reference. */
  readonly by: RarityName | null
  /** The feature space of the choice; null without a choice, and for `score`. */
  readonly space: string | null
}

/** A feature space, as every table names it. */
export interface EvaluatedSpace {
  /** As `--features` has it. */
  readonly name: string
  readonly dimension: number
  /** What is done to an image before the network. */
  readonly preprocessing: string
  /** `tensors sha256 …`, which is not that of their file, or what stands for it: `seed 0`. */
  readonly weights: string
}

/** A row of the table. */
export interface Measurement {
  readonly measure: MeasureName
  /** The space it was measured in; null for what needs none, such as brightness. */
  readonly space: string | null
  /** By method; null where it could not be measured, which a warning says. */
  readonly values: readonly (Estimate | null)[]
  /**
   * The same of the real images, where they have such a number: rarity and the part outside all balls by
   * leaving each out, brightness.
   */
  readonly real: Estimate | null
}

/** Densities of a number that each image has, estimated with Gaussian kernels on one grid. */
export interface Distribution {
  readonly of: RarityName | 'brightness'
  /** Null for `score` and `brightness`. */
  readonly space: string | null
  /** Where the densities stand, ascending. */
  readonly grid: readonly number[]
  /** Of the real images, each left out of its own neighbours; null where they have no two different numbers. */
  readonly real: readonly number[] | null
  /** By method; null likewise. */
  readonly methods: readonly (readonly number[] | null)[]
}

/** Which part of the samples lies among the real images, by how rare they are. */
export interface PrecisionByRarity {
  readonly space: string
  /** By method: groups of equally many samples, from the most dense to the rarest. */
  readonly methods: readonly (readonly {
    /** Mean AvgkNN of the group. */
    readonly avgknn: number
    /** Part of it inside a ball of the reference. */
    readonly precision: number
  }[])[]
}

/** A sample and the real images nearest to it. */
export interface ShownSample {
  /** In its set. */
  readonly index: number
  readonly name: string
  readonly avgknn: number
  /** Nearest first. */
  readonly nearest: readonly { readonly index: number; readonly name: string; readonly distance: number }[]
}

/** Samples of one method to look at. */
export interface ShownSamples {
  readonly space: string
  /** Index of the method. */
  readonly method: number
  /** Where the real images are closest together: smallest AvgkNN first. */
  readonly mostDense: readonly ShownSample[]
  /** Largest AvgkNN first. */
  readonly leastDense: readonly ShownSample[]
  /** Those with a real image nearest to them, nearest first: copies, where there are any. */
  readonly nearest: readonly ShownSample[]
}

/** How the numbers were made. */
export interface EvaluationSettings {
  /** Neighbours of AvgkNN, Rarity, precision, recall, density, coverage and realism. */
  readonly k: number
  /** Neighbours of LOF. */
  readonly lofK: number
  /** Resamples of the intervals; 0: none. */
  readonly resamples: number
  /** Of the intervals, 0.95 say. */
  readonly confidence: number
  readonly seed: number
}

/** All that an evaluation found. */
export interface Evaluation {
  readonly program: 'tweedie'
  readonly kind: 'evaluation'
  readonly version: string
  readonly real: EvaluatedSet
  /** Real images that the model was not trained on; null where there are none. */
  readonly heldOut: EvaluatedSet | null
  readonly reference: Reference
  /** Side by side, as they were named. */
  readonly methods: readonly EvaluatedSet[]
  readonly spaces: readonly EvaluatedSpace[]
  /** Whose accuracy was measured, if any was. */
  readonly classifier?: { readonly name: string; readonly sha256: string }
  readonly settings: EvaluationSettings
  readonly measurements: readonly Measurement[]
  readonly distributions: readonly Distribution[]
  readonly precisionByRarity: readonly PrecisionByRarity[]
  readonly shown: readonly ShownSamples[]
  /** A sentence each: a covariance without full rank, what could not be measured. */
  readonly warnings: readonly string[]
}
