/**
 * What the package exports in a browser, by what it is for: the table of contents of `tweedie`. Which backends
 * compute is said by the entry (`index.ts`, `webgpu.ts`, `cpu.ts`), and `index.node.ts` adds files on disk. What few
 * programs need (options' types, metadata, files' formats, the parts of a sampler, of a loss or of a device) lies in
 * the rooms' own entries: `tweedie/tensor`, `tweedie/nn`, `tweedie/diffusion`, `tweedie/data`, `tweedie/io`,
 * `tweedie/metrics`, `tweedie/train`.
 */

// The common case: load, draw, score.
export {
  Tweedie,
  type DescribedFile,
  type DistanceChoice,
  type MinorityClassifierFile,
  type RunRecord,
  type ScoredPictures,
  type TweedieOptions,
  type TweedieSampleOptions,
  type TweedieScoreOptions,
  type TweedieStep,
  type Where,
} from './tweedie/index.ts'

// What goes wrong.
export { TweedieError, type ErrorCode } from './errors.ts'

// Images, in files, on canvases and as values; sets of them, and batches.
export {
  batchOf,
  centerCrop,
  decodeImage,
  drawImage,
  encodePng,
  imageArrays,
  imageBatch,
  imageDataOf,
  imageFrom,
  imageOf,
  trainingBatch,
  type Image,
  type ImageSet,
} from './data/index.ts'

// Checkpoints.
export {
  blobSource,
  bytesSource,
  encodeSafetensors,
  openCheckpoint,
  urlSource,
  type ByteSource,
  type Checkpoint,
} from './io/index.ts'

// Networks.
export {
  Classifier,
  configMetadata,
  configOfFlags,
  describeModel,
  initializeParameters,
  loadLpips,
  loadModel,
  memoryOf,
  planOf,
  preset,
  presetNames,
  UNet,
  type ClassifierConfig,
  type Lpips,
  type ModelConfig,
  type ModelDescription,
  type UNetConfig,
} from './nn/index.ts'

// The process, its samplers and their noise.
export {
  ddimInvert,
  diffusionOf,
  GaussianDiffusion,
  GeneratedNoise,
  lowResolution,
  respace,
  sample,
  sampleLoop,
  superResolutionDenoiser,
  type Denoiser,
  type NoiseSource,
  type SampleOptions,
  type SampleStep,
} from './diffusion/index.ts'

// Guidances.
export {
  attributeGuidance,
  classifierGuidance,
  classifierLogits,
  logDensityGuidance,
  selfGuidance,
  tiltedGuidance,
  uniformTargets,
  type Guidance,
  type Logits,
} from './diffusion/index.ts'

// Distances, scores and labels.
export {
  l1,
  l2,
  minorityScore,
  perceptual,
  quantileLabels,
  scoreImages,
  scoreProcess,
  squaredL2,
  type Distance,
} from './diffusion/index.ts'
export { avgKnn } from './metrics/index.ts'

// Training.
export {
  classifierTask,
  diffusionTask,
  encodeModel,
  encodeState,
  restoreState,
  Trainer,
  type Task,
  type TrainOptions,
} from './train/index.ts'

// Devices, tensors and gradients.
export {
  customGradient,
  Device,
  grad,
  listAdapters,
  noGrad,
  recompute,
  stopGradient,
  Tensor,
  type DeviceRequest,
  type DType,
  type Shape,
} from './tensor/index.ts'

// Operations, element by element …
export {
  abs,
  add,
  clamp,
  div,
  equal,
  exp,
  greater,
  greaterEqual,
  log,
  maximum,
  minimum,
  mul,
  neg,
  pow,
  relu,
  select,
  sigmoid,
  sign,
  silu,
  sqrt,
  square,
  sub,
  tanh,
} from './tensor/index.ts'
// … by formulas of the caller's own …
export { expression, f, map } from './tensor/index.ts'
// … and of whole tensors.
export {
  attention,
  avgPool2d,
  broadcastTo,
  cast,
  concat,
  conv2d,
  dropout,
  embedding,
  full,
  gather,
  groupNorm,
  linear,
  logSoftmax,
  matmul,
  max,
  maxPool2d,
  mean,
  pad,
  permute,
  randomNormal,
  reshape,
  resizeBilinear,
  slice,
  softmax,
  split,
  sum,
  upsampleNearest,
  zeros,
} from './tensor/index.ts'
