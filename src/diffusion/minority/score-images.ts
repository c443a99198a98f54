import { TweedieError } from '../../errors.ts'
import { refuseUnknown } from '../../refuse.ts'
import type { Device } from '../../tensor/index.ts'
import type { Denoiser, DenoiserLike } from '../process/denoiser.ts'
import type { Distance } from '../guidance/distance.ts'
import { scoreAndReconstruct, type ScoreProcess } from './minority-score.ts'

/** Images as they are scored: of one size, in [-1, 1]. */
export interface ImageSource {
  readonly length: number
  /** [C, H, W] of an image. */
  readonly shape: readonly number[]
  /** The images of these numbers one after another, [n, C, H, W]. */
  read(indices: readonly number[], signal?: AbortSignal): Promise<Float32Array>
}

/** A network that may be told the class of each image: what every {@link Denoiser} is. */
export type ConditionalDenoiser = Denoiser

/**
 * Options of {@link scoreImages}: the process and the step, as `scoreProcess` gives them, the distance, the noise, and
 * how the job is cut and watched.
 */
export interface ScoreImagesOptions extends ScoreProcess {
  /** Between an image and its reconstruction; the paper's is LPIPS with VGG. */
  readonly distance: Distance
  /** Noise draws averaged for each image. Default 1. */
  readonly draws?: number
  readonly seed: number
  /** Which images, by number. Default all. */
  readonly indices?: readonly number[]
  /**
   * The class of every image of the source: each is scored under its own (Eq. 16). Default: the model gets no classes.
   */
  readonly classes?: ArrayLike<number>
  /** Whether reconstructions are clipped to [-1, 1], as the reference does. Default true. */
  readonly clipDenoised?: boolean
  /** Images at a time. Default 8. On one device with its kernels unmeasured it changes no bit of a score. */
  readonly batch?: number
  /** Also the Tweedie reconstruction of each image's first draw: all are kept in memory. Default false. */
  readonly reconstructions?: boolean
  /** Scores that are known already, of the first of `indices`: the job goes on after them. */
  readonly known?: ArrayLike<number>
  /** After every batch, with the scores so far; the job waits for it. */
  readonly onProgress?: (scores: Float32Array, total: number) => void | Promise<void>
  readonly signal?: AbortSignal
}

const optionNames = {
  diffusion: true,
  t: true,
  distance: true,
  draws: true,
  seed: true,
  indices: true,
  classes: true,
  clipDenoised: true,
  batch: true,
  reconstructions: true,
  known: true,
  onProgress: true,
  signal: true,
} as const

/** The scores of a set of images. */
export interface ScoredImages {
  /** [indices.length], in the order of `indices`. */
  readonly scores: Float32Array<ArrayBuffer>
  /** [indices.length - known.length, C, H, W] in [-1, 1], where asked for. */
  readonly reconstructions?: Float32Array<ArrayBuffer>
}

/**
 * Minority scores of the images of `source`, batch by batch; higher is rarer. What the labels of the minority
 * classifier are made of. The noise of an image depends on the seed and on the image's number in its set alone, so that
 * a set is scored alike in one go, in parts, or again after an interruption.
 *
 * @throws TweedieError 'option' for an index outside the source, 'non-finite' for a score that is no number
 * @example
 * const { scores } = await scoreImages(device, model, source, { ...scoreProcess(description), distance: l2, seed: 0 })
 */
export async function scoreImages(
  device: Device,
  model: DenoiserLike,
  source: ImageSource,
  options: ScoreImagesOptions,
): Promise<ScoredImages> {
  refuseUnknown('scoreImages', options, optionNames)
  const {
    diffusion,
    t,
    distance,
    draws = 1,
    seed,
    clipDenoised = true,
    classes,
    batch = 8,
    known = [],
    signal,
    onProgress,
  } = options
  const { indices = Array.from({ length: source.length }, (_, k) => k) } = options
  const outside = indices.find((k) => !Number.isInteger(k) || k < 0 || k >= source.length)
  if (outside !== undefined)
    throw new TweedieError('option', `There are images 0 to ${source.length - 1}, found ${outside}.`)
  if (!Number.isInteger(batch) || batch < 1)
    throw new TweedieError('option', `A batch has 1 image or more, found ${batch}.`)
  const scores = new Float32Array(indices.length)
  scores.set(Array.from(known).slice(0, indices.length))
  const area = source.shape.reduce((a, b) => a * b, 1)
  const reconstructions = options.reconstructions ? new Float32Array((indices.length - known.length) * area) : null
  for (let begin = known.length; begin < indices.length; begin += batch) {
    signal?.throwIfAborted()
    const samples = indices.slice(begin, begin + batch)
    using images = device.tensor(await source.read(samples, signal), [samples.length, ...source.shape])
    const result = scoreAndReconstruct(diffusion, model, images, {
      t,
      distance,
      draws,
      seed,
      samples,
      clipDenoised,
      ...(classes && { y: samples.map((k) => classes[k]) }),
    })
    using estimates = result.reconstruction
    using means = result.scores
    const found = await means.read()
    const broken = found.findIndex((score) => !Number.isFinite(score))
    if (broken >= 0)
      throw new TweedieError(
        'non-finite',
        `The score of image ${samples[broken]} is ${found[broken]}: the weights are damaged, or they are of ` +
          'another network or schedule.',
      )
    scores.set(found, begin)
    reconstructions?.set(await estimates.read(), (begin - known.length) * area)
    await onProgress?.(scores.subarray(0, begin + samples.length), indices.length)
  }
  return { scores, ...(reconstructions && { reconstructions }) }
}
