/**
 * What leads a run's samples, from files to terms of the score: classifiers of classes, of minority levels and of
 * attributes, and Sehwag et al.'s pair. Files are opened and everything that can be said against them is said before a
 * device is asked for; then they are loaded; then each batch asks for its guidance, whose targets depend on the samples'
 * numbers and not on the batch.
 */
import { imageBatch, type ImageSet } from '../data/index.ts'
import { openImages } from '../data/index.node.ts'
import {
  attributeGuidance, classifierGuidance, classMeans, featureShape, minorityLogits, minorityMetadata, pooledFeatures, randomAttributes, sehwagGuidance,
  tiltedGuidance, uniformTargets, type Guidance, type MinorityMetadata,
} from '../diffusion/index.ts'
import { memoryOf, type Classifier, type UNetConfig } from '../nn/index.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import { fail } from './arguments.ts'
import { loadWithProgress, type ModelFile } from './files.ts'
import { cycled, type SampleSettings } from './options.ts'
import type { AttributeSettings, ClassifierSettings, MinoritySettings, SehwagSettings } from './options-guidance.ts'

export interface Lead {
  readonly guidance: Guidance
  /** For people: what each sample is led to, where that is not an option of the run. */
  readonly targets?: readonly (number | string)[]
}

export interface LoadedGuidance {
  /** "minority", the key under which a record keeps the targets. */
  readonly name: string
  /** The term of these samples of the run, `y` being their classes. */
  lead(samples: readonly number[], y: readonly number[] | undefined): Lead
}

/** Opens files for a run, which closes them and keeps their sha256 under the option's name. */
export interface Opener {
  open(option: string, path: string, preset?: string | null): Promise<ModelFile>
  hash(option: string): Promise<string>
  /** Keeps a sha256 that is not that of one file. */
  keep(option: string, sha256: string): void
}

/** Takes what is to be disposed of with the run, and gives it back. */
export type Hold = <T extends { dispose(): void }>(thing: T) => T

export interface OpenGuidance {
  readonly needs: readonly DeviceNeed[]
  load(device: Device, hold: Hold, signal: AbortSignal): Promise<LoadedGuidance>
}

export interface ImageNeed {
  readonly batch: number
  readonly size: readonly [height: number, width: number]
}

/** The guidances of a run in the order of their sum. */
export async function openGuidances(settings: SampleSettings, model: UNetConfig, images: ImageNeed, opener: Opener, signal: AbortSignal): Promise<OpenGuidance[]> {
  const context: Context = { settings, model, images, opener, signal }
  const { classifier, minority, sehwag, attributes } = settings
  const opened: OpenGuidance[] = []
  if (classifier) opened.push(await openClassifier(classifier, context))
  if (minority) opened.push(await openMinority(minority, context))
  if (sehwag) opened.push(await openSehwag(sehwag, context))
  if (attributes) opened.push(await openAttributes(attributes, context))
  return opened
}

interface Context {
  readonly settings: SampleSettings
  readonly model: UNetConfig
  readonly images: ImageNeed
  readonly opener: Opener
  readonly signal: AbortSignal
}

type ClassifierFile = ModelFile & { readonly description: { readonly config: Extract<ModelFile['description']['config'], { kind: 'classifier' }> } }

/** A file that holds a classifier trained with the model's noise. */
async function classifierFile(option: string, path: string, preset: string | null, { opener, settings, model }: Context): Promise<ClassifierFile> {
  const file = await opener.open(option, path, preset)
  const { config, diffusion } = file.description
  if (config.kind !== 'classifier') fail(`${path}: a U-Net, but --${option} takes a classifier.`)
  if (diffusion) checkProcess(path, { ...diffusion, schedule: diffusion.noiseSchedule }, settings)
  if (config.numClasses !== null && config.numClasses !== model.numClasses) fail(`${path}: a class-conditional classifier needs a model with the same classes.`)
  return file as ClassifierFile
}

type Process = Pick<SampleSettings, 'schedule' | 'diffusionSteps' | 'rescaleTimesteps'>

/** A classifier is told the timesteps the network is told, and means nothing at those of another process. */
function checkProcess(path: string, trained: Process, drawn: Process): void {
  const told = ({ schedule, diffusionSteps, rescaleTimesteps }: Process): string => `${schedule}, ${diffusionSteps} steps${rescaleTimesteps ? ', rescaled' : ''}`
  if (told(trained) === told(drawn)) return
  fail(`${path}: a classifier of the noise "${told(trained)}", but the model draws with "${told(drawn)}": train the classifier with the model's, or take the model it was trained for.`)
}

/** It reads the images that are drawn. */
function checkPixels({ path, description: { config } }: ClassifierFile, { model }: Context, otherwise = ''): void {
  if (config.inChannels !== model.inChannels) fail(`${path}: takes ${config.inChannels} channels, but the model draws ${model.inChannels}${otherwise}.`)
  if (config.imageSize !== model.imageSize) fail(`${path}: takes ${config.imageSize} x ${config.imageSize} pixels, but the model draws ${model.imageSize} x ${model.imageSize}${otherwise}.`)
}

const needOf = ({ description: { config } }: ClassifierFile, images: Pick<ImageNeed, 'batch'> & Partial<ImageNeed>): DeviceNeed => memoryOf(config, { ...images, gradient: true })

const load = async (device: Device, file: ClassifierFile, signal: AbortSignal): Promise<Classifier> => await loadWithProgress(device, file, signal) as Classifier

async function openClassifier({ file: path, preset, target, scale }: ClassifierSettings, context: Context): Promise<OpenGuidance> {
  const file = await classifierFile('classifier', path, preset, context)
  checkPixels(file, context, ': a classifier of features is a minority classifier, for --minority-classifier with its --extractor')
  const { outChannels } = file.description.config
  const bad = target.find((k) => k >= outChannels)
  if (bad !== undefined) fail(`--target: the classifier's classes are 0 to ${outChannels - 1}, found ${bad}.`)
  return {
    needs: [needOf(file, context.images)],
    load: async (device, hold, signal) => {
      const classifier = hold(await load(device, file, signal))
      return { name: 'classifier', lead: (samples, y) => ({ guidance: classifierGuidance(minorityLogits(classifier, y ? { y } : {}), { target: samples.map((k) => cycled(target, k)), scale }) }) }
    },
  }
}

async function openMinority({ file: path, preset, extractor: extractorPath, extractorPreset, scale, target }: MinoritySettings, context: Context): Promise<OpenGuidance> {
  const { settings, opener, images } = context
  const file = await classifierFile('minority-classifier', path, preset, context)
  const said = minorityMetadata(file.checkpoint.metadata, path)
  const { config } = file.description
  const levels = config.outChannels
  if (said && said.levels !== levels) fail(`${path}: says it has ${said.levels} minority levels, but its network has ${levels} classes.`)
  if (said) checkProcess(path, said, settings)
  const range = target === 'rarest' ? [levels - 1, levels - 1] as const : target
  if (range !== 'tilt' && range[1] >= levels) fail(`--minority-target: the classifier's levels are 0 to ${levels - 1}, the last the rarest; found ${range[1]}.`)
  const tau = range === 'tilt' ? tauOf(path, said, settings.labels) : null

  const extractor = extractorPath === null ? null : await classifierFile('extractor', extractorPath, extractorPreset, context)
  if (extractor) {
    checkPixels(extractor, context)
    const { channels, side } = featureShape(extractor.description)
    if (config.inChannels !== channels || config.imageSize !== side) fail(`${path}: takes ${config.inChannels}x${config.imageSize}x${config.imageSize}, but the features of ${extractor.path} are ${channels}x${side}x${side}: --extractor is the classifier it was trained on${said?.extractor ? `, ${said.extractor.name}` : ''}.`)
    if (said && said.extractor === null) fail(`${path}: reads pixels; it was trained without --extractor.`)
    const found = await opener.hash('extractor')
    if (said?.extractor && said.extractor.sha256 !== found) fail(`${path}: was trained on the features of ${said.extractor.name} (sha256 ${said.extractor.sha256}), but ${extractor.path} is another file (sha256 ${found}).`)
  } else {
    if (said?.extractor) fail(`${path}: reads the features of ${said.extractor.name}: --extractor FILE says where it is.`)
    checkPixels(file, context, ': does it read the features of a classifier? --extractor E.safetensors says of which')
  }
  return {
    needs: extractor ? [needOf(file, { batch: images.batch }), needOf(extractor, images)] : [needOf(file, images)],
    load: async (device, hold, signal) => {
      const classifier = hold(await load(device, file, signal))
      const features = extractor && hold(await load(device, extractor, signal))
      return {
        name: 'minority',
        lead: (samples, y) => {
          const logits = minorityLogits(classifier, { ...(features ? { extractor: features } : {}), ...(y ? { y } : {}) })
          if (range === 'tilt') return { guidance: tiltedGuidance(logits, { tau: samples.map((k) => (tau as TauOf)(k)), scale }) }
          const targets = uniformTargets(range, { seed: settings.seed, samples })
          return { guidance: classifierGuidance(logits, { target: targets, scale }), targets }
        },
      }
    },
  }
}

/** tau of sample k. */
type TauOf = (k: number) => readonly number[]

/** Eq. 18's tau: the thresholds of the labelling, those of the sample's class where it was made within classes. */
function tauOf(path: string, said: MinorityMetadata | null, labels: readonly number[]): TauOf {
  if (!said) return fail(`${path}: --minority-tilt needs the thresholds of its levels, which this file does not have (metadata "minority"): tweedie train classifier writes them.`)
  const positive = (row: readonly number[]): readonly number[] =>
    row.every((q) => q > 0) ? row : fail(`${path}: --minority-tilt takes the logarithm of the thresholds, and the first is ${row[0]}: label with fewer levels.`)
  if (said.within === 'all') {
    const row = positive(said.thresholds as readonly number[])
    return () => row
  }
  if (labels.length === 0) return fail(`${path}: its labels were made within each class: --minority-tilt needs a class-conditional model and --labels.`)
  const rows = new Map(labels.map((label) => {
    const row = said.thresholds[label] as readonly number[] | undefined
    return [label, row && row.length > 0 ? positive(row) : fail(`${path}: has no thresholds for class ${label}, of which it has seen no image.`)]
  }))
  return (k) => rows.get(cycled(labels, k)) as readonly number[]
}

/** Class means of more images than this are no better, and slower. */
const imagesOfClass = 200

async function openSehwag({ file: path, data, discriminator: discriminatorPath, alpha, beta }: SehwagSettings, context: Context): Promise<OpenGuidance> {
  const { model, images, opener, settings, signal } = context
  const [file, judge] = [await classifierFile('sehwag-classifier', path, null, context), await classifierFile('sehwag-discriminator', discriminatorPath, null, context)]
  const { config } = file.description
  checkPixels(file, context)
  checkPixels(judge, context)
  if (config.numClasses !== null) fail(`${path}: --sehwag-classifier takes an unconditional classifier.`)
  if (judge.description.config.outChannels !== 2) fail(`${discriminatorPath}: --sehwag-discriminator has two classes, real and synthetic; this one has ${judge.description.config.outChannels}.`)
  const set = await openImages(data, { signal })
  if (!set.labels) fail(`${data}: --sehwag-data needs the class of each image.`)
  const classes = model.numClasses as number
  const found = new Set(set.labels).size
  if (found !== classes) fail(`${data}: --sehwag-data has images of ${found} classes, but the model has ${classes}.`)
  opener.keep('sehwag-data', set.fingerprint)
  return {
    needs: [needOf(file, images), needOf(judge, images)],
    load: async (device, hold, stop) => {
      const classifier = hold(await load(device, file, stop))
      const discriminator = hold(await load(device, judge, stop))
      const embedding = pooledFeatures(classifier)
      const batches = labelled(device, set, { batch: images.batch, size: config.imageSize, channels: config.inChannels as 1 | 3 }, stop)
      const means = hold(await classMeans(embedding, batches, classes, stop))
      return {
        name: 'sehwag',
        lead: (samples, y) => ({
          guidance: sehwagGuidance({ embedding, classMeans: means, y: y ?? samples.map((k) => cycled(settings.labels, k)), discriminator: minorityLogits(discriminator, y ? { y } : {}), alpha, beta }),
        }),
      }
    },
  }
}

/** The first images of every class, clean, in batches. */
async function* labelled(device: Device, set: ImageSet, { batch, size, channels }: { batch: number; size: number; channels: 1 | 3 }, signal: AbortSignal) {
  const seen = new Map<number, number>()
  const chosen: number[] = []
  for (const [i, label] of (set.labels as Int32Array).entries()) {
    const count = (seen.get(label) ?? 0) + 1
    seen.set(label, count)
    if (count <= imagesOfClass) chosen.push(i)
  }
  for (let begin = 0; begin < chosen.length; begin += batch) {
    const { images, indices, labels } = await imageBatch(set, chosen.slice(begin, begin + batch), { size, channels }, signal)
    using x = device.tensor(images, [indices.length, channels, size, size])
    yield { x, timesteps: indices.map(() => 0), labels: labels as Int32Array }
  }
}

async function openAttributes({ file: path, scale }: AttributeSettings, context: Context): Promise<OpenGuidance> {
  const file = await classifierFile('attributes-classifier', path, null, context)
  checkPixels(file, context)
  const { outChannels } = file.description.config
  const { seed } = context.settings
  return {
    needs: [needOf(file, context.images)],
    load: async (device, hold, signal) => {
      const classifier = hold(await load(device, file, signal))
      return {
        name: 'attributes',
        lead: (samples, y) => {
          const targets = randomAttributes(outChannels, { seed, samples })
          return { guidance: attributeGuidance(minorityLogits(classifier, y ? { y } : {}), { targets, scale }), targets: targets.map((row) => row.map(Number).join('')) }
        },
      }
    },
  }
}
