import {
  classifierGuidance,
  featureShape,
  classifierLogits,
  minorityMetadata,
  tiltedGuidance,
  uniformTargets,
  type MinorityMetadata,
} from '../diffusion/index.ts'
import type { Classifier } from '../nn/index.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import { fail } from './fail.ts'
import {
  checkPixels,
  checkProcess,
  classifierFile,
  load,
  needOf,
  type ClassifierFile,
  type Context,
  type Hold,
  type ImageNeed,
  type Lead,
} from './guidance-files.ts'
import { cycled } from './labels.ts'

/**
 * The files of minority guidance. What the classifier's own metadata says of levels, noise and
 * extractor is not asked for.
 */
export interface MinorityFiles<File> {
  /** The classifier of levels. */
  readonly file: File
  /** The published classifier it is, for a file that does not say so itself. */
  readonly preset: string | null
  /** The classifier whose features it reads; null: it reads pixels. */
  readonly extractor: File | null
  /** The same of the extractor. */
  readonly extractorPreset: string | null
}

/** First and last level of a range, the last level of all, or all of them by their scores (Eq. 18). */
export type MinorityTarget = readonly [number, number] | 'rarest' | 'tilt'

/** What samples are to be led to. */
export interface MinorityWish {
  /** Levels, or all of them by their scores. */
  readonly target: MinorityTarget
  /** Weight of the guidance. */
  readonly scale: number
  /** Classes of the samples in order, starting over; empty for a model without classes. */
  readonly labels: readonly number[]
  /** Of the levels that samples draw from a range. */
  readonly seed: number
}

/** Minority guidance before a device is asked for. */
export interface OpenMinority {
  /** L: levels are 0 to L - 1, the last the rarest. */
  readonly levels: number
  /** What it takes for a batch. */
  needs(images: ImageNeed): DeviceNeed[]
  /**
   * How a wish is fulfilled once the classifier is there.
   * @throws TweedieError 'option' for one that this classifier cannot fulfil
   */
  plan(
    wish: MinorityWish,
  ): (loaded: LoadedMinority, samples: readonly number[], y: readonly number[] | undefined) => Lead
  /** Loads the classifier, and its extractor if it has one; `hold` takes both. */
  load(device: Device, hold: Hold, signal?: AbortSignal): Promise<LoadedMinority>
}

/** The networks of minority guidance on the device. */
export interface LoadedMinority {
  /** Of levels. */
  readonly classifier: Classifier
  /** Whose features it reads; null: it reads pixels. */
  readonly extractor: Classifier | null
}

/** Eq. 8, 17 and 18 by a classifier of levels, on pixels or on an extractor's features. */
export async function openMinority<File>(files: MinorityFiles<File>, context: Context<File>): Promise<OpenMinority> {
  const { opener, process } = context
  const file = await classifierFile('minority-classifier', files.file, files.preset, context)
  const said = minorityMetadata(file.checkpoint.metadata, file.name)
  const levels = file.description.config.outChannels
  if (said && said.levels !== levels)
    fail(`${file.name}: says it has ${said.levels} minority levels, but its network has ${levels} classes.`)
  if (said) checkProcess(file.name, said, process)
  const extractor = await openExtractor(files, file, said, context)
  return {
    levels,
    needs: (images) =>
      extractor ? [needOf(file, { batch: images.batch }), needOf(extractor, images)] : [needOf(file, images)],
    plan: (wish) => planOf({ name: file.name, said, levels, called: opener.called }, wish),
    load: async (device, hold, signal) => {
      const classifier = hold(await load(device, file, opener, signal))
      return { classifier, extractor: extractor && hold(await load(device, extractor, opener, signal)) }
    },
  }
}

/** The extractor the classifier was trained on; null for one of pixels. */
async function openExtractor<File>(
  { extractor: where, extractorPreset }: MinorityFiles<File>,
  file: ClassifierFile,
  said: MinorityMetadata | null,
  context: Context<File>,
): Promise<ClassifierFile | null> {
  const { config } = file.description
  const option = context.opener.called('extractor')
  if (where === null) {
    if (said?.extractor)
      fail(`${file.name}: reads the features of ${said.extractor.name}: ${option} FILE says where it is.`)
    checkPixels(file, context, `: does it read the features of a classifier? ${option} E.safetensors says of which`)
    return null
  }
  const extractor = await classifierFile('extractor', where, extractorPreset, context)
  checkPixels(extractor, context)
  const { channels, side } = featureShape(extractor.description)
  if (config.inChannels !== channels || config.imageSize !== side) {
    fail(
      `${file.name}: takes ${config.inChannels}x${config.imageSize}x${config.imageSize}, but the features of ` +
        `${extractor.name} are ${channels}x${side}x${side}: ` +
        `${option} is the classifier it was trained on${said?.extractor ? `, ${said.extractor.name}` : ''}.`,
    )
  }
  if (said && said.extractor === null) fail(`${file.name}: reads pixels; it was trained without ${option}.`)
  const found = await context.opener.hash('extractor')
  if (said?.extractor && said.extractor.sha256 !== found) {
    fail(
      `${file.name}: was trained on the features of ${said.extractor.name} (sha256 ${said.extractor.sha256}), ` +
        `but ${extractor.name} is another file (sha256 ${found}).`,
    )
  }
  return extractor
}

/** What is known of a classifier of levels. */
interface Known {
  readonly name: string
  readonly said: MinorityMetadata | null
  readonly levels: number
  readonly called: (option: string) => string
}

function planOf(known: Known, { target, scale, labels, seed }: MinorityWish): ReturnType<OpenMinority['plan']> {
  const { levels, called } = known
  const levelsOf = levelsOfSamples(known, labels)
  // Not Math.min(...): random labels are as many as the samples.
  const most = labels.reduce((least, _, k) => Math.min(least, levelsOf(k)), levels)
  if (typeof target !== 'string' && target[1] >= most)
    fail(
      `${called('minority-target')}: the ` +
        `${most < levels ? 'levels of a class that is asked for' : "classifier's levels"} are 0 to ${most - 1}, ` +
        `the last the rarest; found ${target[1]}.`,
    )
  const tau = target === 'tilt' ? tauOf(known, labels) : null
  const rangeOf = (k: number): readonly [number, number] =>
    typeof target === 'string' ? [levelsOf(k) - 1, levelsOf(k) - 1] : target
  return ({ classifier, extractor }, samples, y) => {
    const logits = classifierLogits(classifier, { ...(extractor ? { extractor } : {}), ...(y ? { y } : {}) })
    if (tau) return { guidance: tiltedGuidance(logits, { tau: samples.map(tau), scale }) }
    const targets = samples.flatMap((k) => uniformTargets(rangeOf(k), { seed, samples: [k] }))
    return { guidance: classifierGuidance(logits, { target: targets, scale }), targets }
  }
}

/** tau of sample k. */
type TauOf = (k: number) => readonly number[]

/**
 * How many levels the class of sample k has: those of the classifier, but where each class was cut into
 * a number of its own.
 */
function levelsOfSamples({ name, said, levels, called }: Known, labels: readonly number[]): (k: number) => number {
  const rows = said?.within === 'class' ? (said.thresholds as readonly (readonly number[])[]) : []
  if (rows.every(({ length }) => length === 0 || length === levels)) return () => levels
  if (labels.length === 0)
    return fail(
      `${name}: its levels were cut within each class, and classes have different numbers of them: it needs a ` +
        `class-conditional model and ${called('labels')}.`,
    )
  return (k) => rows[cycled(labels, k)]?.length || levels
}

/** Eq. 18's tau: the thresholds of the labelling, those of the sample's class where it was made within classes. */
function tauOf({ name, said, levels, called }: Known, labels: readonly number[]): TauOf {
  const tilt = called('minority-tilt')
  const thresholds = said?.thresholds
  if (!thresholds)
    return fail(
      `${name}: ${tilt} needs the thresholds of its levels, which this file does not have (metadata "minority"): ` +
        'tweedie train classifier --labels writes them.',
    )
  const positive = (row: readonly number[]): readonly number[] =>
    row.every((q) => q > 0)
      ? row
      : fail(
          `${name}: ${tilt} takes the logarithm of the thresholds, and the first is ` +
            `${row[0]}: label with fewer levels.`,
        )
  if (said.within === 'all') {
    const row = positive(thresholds as readonly number[])
    return () => row
  }
  if (labels.length === 0)
    return fail(
      `${name}: its labels were made within each class: ${tilt} needs a class-conditional ` +
        `model and ${called('labels')}.`,
    )
  const rows = new Map(
    [...new Set(labels)].map((label) => {
      const row = thresholds[label] as readonly number[] | undefined
      // A level that the class does not have weighs nothing: the exponential of its logarithm, -744, is 0 in 32 bits.
      return [
        label,
        row && row.length > 0
          ? [...positive(row), ...new Array<number>(levels - row.length).fill(Number.MIN_VALUE)]
          : fail(`${name}: has no thresholds for class ${label}, of which it has seen no image.`),
      ]
    }),
  )
  return (k) => rows.get(cycled(labels, k)) as readonly number[]
}
