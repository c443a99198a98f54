import { classifierGuidance, classifierLogits } from '../diffusion/index.ts'
import type { Classifier } from '../nn/index.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import { fail } from './fail.ts'
import {
  checkPixels,
  classifierFile,
  load,
  needOf,
  type Context,
  type Hold,
  type ImageNeed,
  type Lead,
} from './guidance-files.ts'
import { cycled, randomLabels, type LabelWish } from './labels.ts'

/** What samples are to be led to. */
export interface ClassWish {
  /** Classes of the samples; a word is of the classifier's classes. Null: `labels`. */
  readonly target: LabelWish | null
  /** Those that the model is told, in order, starting over; empty for a model without classes. */
  readonly labels: readonly number[]
  /** Weight of the guidance. */
  readonly scale: number
  /** Of random classes. */
  readonly seed: number
}

/** Class guidance before a device is asked for. */
export interface OpenClasses {
  /** What it takes for a batch. */
  needs(images: ImageNeed): DeviceNeed[]
  /**
   * How a wish is fulfilled once the classifier is there.
   * @throws TweedieError 'option' for a class that it does not have
   */
  plan(wish: ClassWish): (loaded: Classifier, samples: readonly number[], y: readonly number[] | undefined) => Lead
  /** Loads the classifier; `hold` takes it. */
  load(device: Device, hold: Hold, signal?: AbortSignal): Promise<Classifier>
}

/** Guidance by a classifier of noised images (Dhariwal & Nichol, NeurIPS 2021). */
export async function openClasses<File>(
  where: File,
  preset: string | null,
  context: Context<File>,
): Promise<OpenClasses> {
  const { opener } = context
  const file = await classifierFile('classifier', where, preset, context)
  const called = opener.called('minority-classifier')
  checkPixels(
    file,
    context,
    `: a classifier of features is a minority classifier, for ${called} with its ${opener.called('extractor')}`,
  )
  const { outChannels } = file.description.config
  return {
    needs: (images) => [needOf(file, images)],
    plan({ target, labels, scale, seed }) {
      const wish = target ?? labels
      const list = wish === 'all' ? Array.from({ length: outChannels }, (_, k) => k) : wish
      const bad = list === 'random' ? undefined : list.find((k) => !(Number.isInteger(k) && k >= 0 && k < outChannels))
      if (bad !== undefined)
        fail(`${opener.called('target')}: the classifier's classes are 0 to ${outChannels - 1}, found ${bad}.`)
      return (classifier, samples, y) => ({
        guidance: classifierGuidance(classifierLogits(classifier, y ? { y } : {}), {
          target:
            list === 'random' ? randomLabels(outChannels, { seed, samples }) : samples.map((k) => cycled(list, k)),
          scale,
        }),
      })
    },
    load: async (device, hold, signal) => hold(await load(device, file, opener, signal)),
  }
}
