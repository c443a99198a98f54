/**
 * Every stream of the generator (`philox.ts`) that the project draws from, in one table: with a seed and a sample's
 * number the purpose says which numbers are meant, and two uses of one purpose would draw the same ones and be
 * correlated in silence. The numbers are part of what a seed means and never change: a new use takes a new one. The
 * table takes those below 128 and knows what rooms above draw, because nobody above sees all of them.
 */
export const purposes = {
  // Sampling and scoring (diffusion/). The sample is its index in the run; the draw is the step where there are
  // several.
  /** x_T. */
  initial: 0,
  /** The noise of a sampling step. */
  step: 1,
  /** Self-guidance's new noise on the prediction, at step t and for its k-th draw. */
  renoise: 2,
  /** The noise under which a minority score reconstructs an image. */
  score: 3,
  /** A sample's minority class, where a range of them is asked for. */
  target: 4,
  /** A sample's attributes under attribute guidance. */
  attributes: 5,
  /** `initial` of the second of two stages. */
  upsampleInitial: 6,
  /** `step` of the second of two stages. */
  upsampleStep: 7,
  /** What a start from the marginal draws of it. */
  marginal: 8,
  /** A sample's class, where each has one by chance. */
  label: 9,

  // Networks (nn/). One sample, 0; the draw is the parameter's number in the state dict.
  /** Parameters of an untrained network. */
  parameters: 16,
  /** Weights of a feature network that is random on purpose. */
  randomNetwork: 17,

  // Training (train/). The sample is its number in the run; evaluations on held-out images take draw 1 of the noise.
  /** The noise on a training image. */
  trainNoise: 32,
  /** The timestep of a training image. */
  trainTimestep: 33,
  /** Dropout's masks; the draw is a hash of the layer's name. */
  trainDropout: 34,

  // Learning features (train/).
  /** The two random views of a picture. */
  views: 40,
  /** Parameters of an untrained feature net and its heads. */
  featureParameters: 41,
  /** The noise on a view, and how strong it is. */
  featureNoise: 42,
  /** The noise on pictures whose distances grade a feature net. */
  distortion: 43,
  /** Where the search for principal components starts. */
  principal: 44,

  // Measures (metrics/). The sample is the number of the resample or subset, the draw tells the sets apart.
  /** Which items a bootstrap's resample takes. */
  bootstrap: 48,
  /** The subsets of a kernel distance, and the order in which a Fréchet distance is extrapolated. */
  subsets: 49,
  /** Where the cells of a test for copies begin. */
  cells: 50,

  // Data (data/). The sample is what is chosen: an epoch, or an image's number in the endless stream.
  /** The order of an epoch. */
  shuffle: 64,
  /** An image's crop and symmetry. */
  augment: 65,
  /**
   * Which images a random selection takes: sample 0 for so many a class, 1 for those held out, 2 + level
   * for a split of levels.
   */
  select: 66,

  // Kernels (tensor/). The draw tells the tensors apart.
  /** What kernels are timed and verified with. */
  trial: 80,
} as const

/** A stream's number; a new one does not pass the compiler without a line in the table. */
export type Purpose = (typeof purposes)[keyof typeof purposes]
