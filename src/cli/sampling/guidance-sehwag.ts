/**
 * The baseline of Sehwag et al. from its files: the feature space and what is real come from two classifiers, where the
 * classes are from images.
 */
import { evenlySpaced, imageBatch, type ImageSet } from '../../data/index.ts'
import { classMeans, classifierLogits, pooledFeatures, sehwagGuidance } from '../../diffusion/index.ts'
import type { Device } from '../../tensor/index.ts'
import { checkPixels, classifierFile, load, needOf } from '../../tweedie/guidance-files.ts'
import { cycled } from '../../tweedie/labels.ts'
import { fail } from '../arguments.ts'
import { openNoted } from '../options/data.ts'
import type { Context, OpenGuidance } from './guidance-files.ts'
import type { SehwagSettings } from '../options/guidance.ts'

/** Class means of more images than this are no better, and slower. */
const imagesOfClass = 200
/** Of a set without classes: all its kinds are to be among them. */
const imagesOfAll = 2000

/**
 * Sehwag et al.'s two terms, with the means of the classes of a set of images; for a model without
 * classes the mean of all.
 */
export async function openSehwag(
  { file: path, data, discriminator: discriminatorPath, skipBad, alpha, beta }: SehwagSettings,
  context: Context,
): Promise<OpenGuidance> {
  const { model, images, opener, settings, signal } = context
  const [file, judge] = [
    await classifierFile('sehwag-classifier', path, null, context),
    await classifierFile('sehwag-discriminator', discriminatorPath, null, context),
  ]
  const { config } = file.description
  checkPixels(file, context)
  checkPixels(judge, context)
  if (config.numClasses !== null) fail(`${path}: --sehwag-classifier takes an unconditional classifier.`)
  if (judge.description.config.outChannels !== 2)
    fail(
      `${discriminatorPath}: --sehwag-discriminator has two classes, real and synthetic; this one has ` +
        `${judge.description.config.outChannels}.`,
    )
  const set = await openNoted(data, { signal, skipBad })
  const classes = model.numClasses
  if (classes !== null) {
    if (!set.labels) fail(`${data}: --sehwag-data needs the class of each image.`)
    const found = new Set(set.labels).size
    if (found !== classes) fail(`${data}: --sehwag-data has images of ${found} classes, but the model has ${classes}.`)
  }
  opener.keep('sehwag-data', set.fingerprint, set.leftOut)
  return {
    needs: [needOf(file, images), needOf(judge, images)],
    load: async (device, hold, stop) => {
      const classifier = hold(await load(device, file, opener, stop))
      const discriminator = hold(await load(device, judge, opener, stop))
      const embedding = pooledFeatures(classifier)
      const batches = labelled(
        device,
        set,
        classes === null ? evenlySpaced(set.length, imagesOfAll) : firstOfEach(set.labels!),
        { batch: images.batch, size: config.imageSize, channels: config.inChannels as 1 | 3, classes },
        stop,
      )
      const means = hold(await classMeans(embedding, batches, classes ?? 1, stop))
      return {
        name: 'sehwag',
        lead: (samples, y) => ({
          guidance: sehwagGuidance({
            embedding,
            classMeans: means,
            y: classes === null ? undefined : (y ?? samples.map((k) => cycled(settings.labels, k))),
            discriminator: classifierLogits(discriminator, y ? { y } : {}),
            alpha,
            beta,
          }),
        }),
      }
    },
  }
}

/** The first images of every class. */
function firstOfEach(labels: Int32Array): number[] {
  const seen = new Map<number, number>()
  return Array.from(labels.keys()).filter((i) => {
    const count = (seen.get(labels[i]) ?? 0) + 1
    seen.set(labels[i], count)
    return count <= imagesOfClass
  })
}

interface Shape {
  readonly batch: number
  readonly size: number
  readonly channels: 1 | 3
  /** Null: all images are one. */
  readonly classes: number | null
}

/** The chosen images, clean, in batches. */
async function* labelled(
  device: Device,
  set: ImageSet,
  chosen: readonly number[],
  { batch, size, channels, classes }: Shape,
  signal: AbortSignal,
) {
  for (let begin = 0; begin < chosen.length; begin += batch) {
    const { images, indices, labels } = await imageBatch(
      set,
      chosen.slice(begin, begin + batch),
      { size, channels },
      signal,
    )
    using x = device.tensor(images, [indices.length, channels, size, size])
    yield {
      x,
      timesteps: indices.map(() => 0),
      labels: classes === null ? indices.map(() => 0) : (labels as Int32Array),
    }
  }
}
