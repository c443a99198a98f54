/**
 * A run of the playground: every arm of a state, from the same noise. The arms take turns, a step each, so that both
 * are seen to grow side by side; the worker draws the step after while a page shows this one. What a step showed is
 * kept for the scrubber.
 */
import type { ClientStep, TweedieClient } from 'tweedie/client'
import { mostOf } from './heat.ts'
import { armsOf, type Method, type State } from './state.ts'
import { sampleOptionsOf, type Named } from './told.ts'

/** What a step showed of one arm. */
export interface Frame {
  /** Steps done. */
  readonly done: number
  /** The estimates of x_0, after the last step the samples: one a picture. */
  readonly images: readonly ImageBitmap[]
  /** How far guidance moved each pixel of each picture in this step; undefined where none acted. */
  readonly pushes: readonly (Float32Array | undefined)[]
}

/** An arm, as far as it is drawn. */
export interface Arm {
  readonly method: Method
  readonly frames: readonly Frame[]
  readonly done: number
  readonly total: number
  /** Minority scores of the pictures that are finished; higher is rarer. */
  readonly scores: ArrayLike<number>
  /** The furthest that guidance moved a pixel so far. */
  readonly most: number
  /** How often the device was lost, and the run went on. */
  readonly recovered: number
  /** Its run.json, once it is drawn. */
  readonly record: ClientStep['record']
}

/** An arm before its first step. */
export const notBegun = (method: Method): Arm => ({
  method,
  frames: [],
  done: 0,
  total: 0,
  scores: [],
  most: 0,
  recovered: 0,
  record: undefined,
})

/** Most frames of an arm: of so many steps every one is kept, of more as many as share this evenly. */
const mostFrames = 64
/** Bytes of pictures that an arm keeps, of which two frames always are. */
const mostBytes = 64 * 2 ** 20

export interface RunOptions {
  readonly state: State
  readonly model: Named
  /**
   * Whether steps have where guidance pushed and the scores of what is finished, and the last its run.json, for which
   * the files of the model are read once more.
   */
  readonly details: boolean
  readonly signal: AbortSignal
}

/** Draws; yields after every step of an arm, with all arms so far. */
export async function* drawArms(
  client: Pick<TweedieClient, 'sample' | 'info'>,
  { state, model, details, signal }: RunOptions,
): AsyncGenerator<readonly Arm[], void, void> {
  const arms: Arm[] = armsOf(state).map(notBegun)
  const loops = arms.map(({ method }) =>
    client.sample({
      ...sampleOptionsOf(state, method, model),
      preview: true,
      pushes: details,
      scores: details,
      record: details,
      signal,
    }),
  )
  const frame = 8 * state.number * client.info.imageSize ** 2
  const frames = Math.max(2, Math.min(mostFrames, Math.floor(mostBytes / frame)))
  try {
    const going = new Set(arms.keys())
    while (going.size > 0) {
      for (const at of going) {
        const { value: step } = await loops[at].next()
        if (!step) going.delete(at)
        else {
          arms[at] = after(arms[at], step, frames)
          yield [...arms]
        }
      }
    }
  } finally {
    await Promise.allSettled(loops.map((loop) => loop.return()))
  }
}

/** The arm with one step more. */
function after(arm: Arm, step: ClientStep, frames: number): Arm {
  const { done, total, pushes = [], scores = [], recovered = 0 } = step
  const before = arm.frames.at(-1)
  const images = step.images.map((image, k) => image ?? before!.images[k])
  // Guidance moves the batch that is being drawn: the last of the pictures.
  const first = images.length - pushes.length
  const frame: Frame = { done, images, pushes: images.map((_, k) => pushes[k - first]) }
  // Where every k-th is kept, the one before stays only if it is such a one.
  const every = Math.ceil(total / frames)
  const stays = !before || before.done % every === 0
  if (!stays) for (const image of before.images) if (!images.includes(image)) image.close()
  return {
    method: arm.method,
    frames: [...(stays ? arm.frames : arm.frames.slice(0, -1)), frame],
    done,
    total,
    scores,
    most: Math.max(arm.most, mostOf(pushes)),
    recovered,
    record: step.record,
  }
}

/** What an arm shows at a step: the last frame up to it. */
export const frameAt = ({ frames }: Arm, step: number): Frame | undefined =>
  frames.findLast(({ done }) => done <= step) ?? frames[0]

/** Gives back the pictures of arms that are no longer shown. */
export function closeArms(arms: readonly Arm[]): void {
  for (const image of new Set(arms.flatMap(({ frames }) => frames.flatMap(({ images }) => images)))) image.close()
}
