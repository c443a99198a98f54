import { batchOf, imageFrom, imagesOf, type Canvas, type Image, type Pixels } from '../data/index.ts'
import { scoreImages, scoreProcess, type ImageSource, type ScoreStep } from '../diffusion/index.ts'
import { unexpected } from '../errors.ts'
import { refuseUnknown } from '../refuse.ts'
import { fail, wholeOf } from './fail.ts'
import { checkLabels, cycled } from './labels.ts'
import type { Life } from './life.ts'
import { scoreOptions } from './option-names.ts'

/**
 * Pictures of any size, of which the middle square is scaled to the model's; or values [N, C, H, W] in [-1, 1] of its
 * own.
 */
export type ScoredPictures = readonly (Image | Omit<Pixels, 'colorSpace'> | Canvas)[] | Float32Array

/** What `Tweedie.score` and `Tweedie.reconstruct` take: names and defaults of `tweedie score`. */
export interface TweedieScoreOptions {
  /** Image k of a seed gets the same noise in any batch. Default 0. */
  readonly seed?: number
  /** Noise draws averaged. Default 1. */
  readonly draws?: number
  /**
   * Strength of the noise: an index of the 100 steps, or a fraction of T. Default `{ fraction: 0.9 }` for a cosine
   * schedule, 0.6 for a linear one.
   */
  readonly step?: ScoreStep
  /** Classes for a class-conditional model, in order; fewer than images start over. */
  readonly labels?: readonly number[]
  /** Whether reconstructions are clipped to [-1, 1]. Default true. */
  readonly clipDenoised?: boolean
  /** Images at a time. Default: the model's. */
  readonly batch?: number
  /** Called after every batch: images so far, and in all. */
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

/** The scores of `Tweedie.score`. */
export const score = async (
  life: Life,
  pictures: ScoredPictures,
  options: TweedieScoreOptions,
): Promise<Float32Array<ArrayBuffer>> => (await scored('score', life, pictures, options, false)).scores

/** Scores and reconstructions of `Tweedie.reconstruct`. */
export async function reconstruct(
  life: Life,
  pictures: ScoredPictures,
  options: TweedieScoreOptions,
): Promise<{ scores: Float32Array<ArrayBuffer>; reconstructions: Image[] }> {
  return scored('reconstruct', life, pictures, options, true)
}

/** Batch by batch, so that a lost device costs one batch. */
async function scored(
  user: string,
  life: Life,
  pictures: ScoredPictures,
  options: TweedieScoreOptions,
  reconstruct: boolean,
): Promise<{ scores: Float32Array<ArrayBuffer>; reconstructions: Image[] }> {
  life.check(user)
  refuseUnknown(user, options, scoreOptions)
  const {
    process,
    batch: room,
    description: { config },
  } = life.last
  const { seed = 0, draws, step, batch = room, clipDenoised = true, onProgress, signal } = options
  const labels = checkLabels(options.labels, config, { called: 'labels', example: '[3, 8]' })
  const source = sourceOf(user, pictures, { size: config.imageSize, channels: config.inChannels as 1 | 3 })
  const all = {
    ...scoreProcess(process, step),
    seed,
    batch: wholeOf('batch', batch),
    clipDenoised,
    reconstructions: reconstruct,
    ...(draws !== undefined && { draws }),
    ...(signal && { signal }),
    ...(labels.length > 0 && { classes: Array.from({ length: source.length }, (_, k) => cycled(labels, k)) }),
  }
  const scores = new Float32Array(source.length)
  const reconstructions: Image[] = []
  let done = 0
  for (let losses = 0; done < source.length; ) {
    const loaded = await life.current(user, signal)
    const { device, model, distance } = loaded
    const indices = Array.from({ length: Math.min(batch, source.length - done) }, (_, i) => done + i)
    try {
      const found = await scoreImages(device, model, source, { ...all, distance, indices })
      scores.set(found.scores, done)
      if (found.reconstructions)
        reconstructions.push(...imagesOf(found.reconstructions, [indices.length, ...source.shape]))
    } catch (error) {
      await life.afterFailure(loaded, error, ++losses)
      continue
    }
    done += indices.length
    losses = 0
    onProgress?.(done, source.length)
  }
  return { scores, reconstructions }
}

/** Pictures as a model takes them. */
function sourceOf(
  user: string,
  pictures: ScoredPictures,
  { size, channels }: { readonly size: number; readonly channels: 1 | 3 },
): ImageSource {
  const area = channels * size * size
  const shape = [channels, size, size]
  if (pictures instanceof Float32Array) {
    const length = pictures.length / area
    // Samples that were not clipped are a little outside; pixels of 0 to 255 far.
    const strange = pictures.find((value) => !(Math.abs(value) <= 4))
    if (strange !== undefined)
      return fail(`${user}: expected values in [-1, 1], found ${strange}. A pixel p of 0 to 255 is p / 127.5 - 1.`)
    if (!Number.isInteger(length) || length === 0)
      return fail(`${user}: expected values of whole images [N, ${shape.join(', ')}], found ${pictures.length}.`)
    const read = async (indices: readonly number[]): Promise<Float32Array> => {
      const out = new Float32Array(indices.length * area)
      indices.forEach((k, i) => out.set(pictures.subarray(k * area, (k + 1) * area), i * area))
      return out
    }
    return { length, shape, read }
  }
  const expected = `a list of images, or the values of a batch [N, ${shape.join(', ')}]`
  if (!Array.isArray(pictures)) throw unexpected(user, expected, pictures)
  if (pictures.length === 0) return fail(`${user}: expected ${expected}, found an empty one.`)
  const images = pictures as Exclude<ScoredPictures, Float32Array>
  return {
    length: images.length,
    shape,
    read: async (indices) =>
      batchOf(
        indices.map((k) => decoded(user, images[k])),
        { size, channels },
      ),
  }
}

function decoded(user: string, picture: Exclude<ScoredPictures, Float32Array>[number]): Image {
  if (typeof picture !== 'object' || picture === null || ArrayBuffer.isView(picture))
    throw unexpected(user, 'images', picture, 'decodeImage makes one of the bytes of a PNG or JPEG.')
  return 'channels' in picture ? picture : imageFrom(picture)
}
