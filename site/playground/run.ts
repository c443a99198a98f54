/**
 * A run of the playground: every arm of a state, from the same noise. The arms take turns, a step each, so that both
 * are seen to grow side by side and neither waits for the other; the worker draws the step after while a page shows
 * this one. What a step showed is kept for the scrubber.
 */
import type { ClientStep, TweedieClient } from 'tweedie/client'
import { armsOf, type Method, type State } from './state.ts'
import { sampleOptionsOf } from './told.ts'

/** What a step showed of one arm. */
export interface Frame {
  /** Steps done. */
  readonly done: number
  /** The estimates of x_0, after the last step the samples: one a picture. */
  readonly images: readonly ImageBitmap[]
  /** How far guidance moved each pixel of each picture in this step; null where none acted. */
  readonly pushes: readonly Float32Array[] | null
}

/** An arm, as far as it is drawn. */
export interface Arm {
  readonly method: Method
  readonly frames: readonly Frame[]
  readonly done: number
  readonly total: number
}

/** Most frames that an arm keeps: of 64 steps every one, of more as many as share this evenly. */
const kept = 64

/** Draws; yields after every step of an arm, with all arms so far. */
export async function* drawArms(
  client: TweedieClient,
  state: State,
  signal: AbortSignal,
): AsyncGenerator<readonly Arm[], void, void> {
  const arms: Arm[] = armsOf(state).map((method) => ({ method, frames: [], done: 0, total: 0 }))
  const loops = arms.map(({ method }) =>
    client.sample({ ...sampleOptionsOf(state, method), preview: true, pushes: true, signal }),
  )
  try {
    const going = new Set(arms.keys())
    while (going.size > 0) {
      for (const at of going) {
        const { value: step } = await loops[at].next()
        if (!step) going.delete(at)
        else {
          arms[at] = after(arms[at], step)
          yield [...arms]
        }
      }
    }
  } finally {
    await Promise.allSettled(loops.map((loop) => loop.return()))
  }
}

/** The arm with one step more. */
function after(arm: Arm, { done, total, images, pushes }: ClientStep): Arm {
  const before = arm.frames.at(-1)
  const frame: Frame = {
    done,
    images: images.map((image, k) => image ?? before!.images[k]),
    pushes: pushes ?? null,
  }
  // Where every k-th is kept, the one before stays only if it is such a one.
  const every = Math.ceil(total / kept)
  const stays = !before || before.done % every === 0
  if (!stays) close(before, frame)
  return { ...arm, frames: [...(stays ? arm.frames : arm.frames.slice(0, -1)), frame], done, total }
}

/** Gives back the pictures of a frame that `next` does not show. */
function close(frame: Frame, next: Frame | null): void {
  for (const image of frame.images) if (!next?.images.includes(image)) image.close()
}

/** Gives back the pictures of arms that are no longer shown. */
export function closeArms(arms: readonly Arm[]): void {
  for (const image of new Set(arms.flatMap(({ frames }) => frames.flatMap(({ images }) => images)))) image.close()
}
