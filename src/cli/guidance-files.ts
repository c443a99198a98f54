/** What every kind of guidance needs of its files: how they are opened, what can be said against them, how they are loaded. */
import { classifierMetadata, type ClassifierKind, type Guidance } from '../diffusion/index.ts'
import { memoryOf, type Classifier, type UNetConfig } from '../nn/index.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import { fail } from './arguments.ts'
import { loadWithProgress, type ModelFile } from './files.ts'
import type { SampleSettings } from './options.ts'

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

export interface Context {
  readonly settings: SampleSettings
  readonly model: UNetConfig
  readonly images: ImageNeed
  readonly opener: Opener
  readonly signal: AbortSignal
}

export type ClassifierFile = ModelFile & { readonly description: { readonly config: Extract<ModelFile['description']['config'], { kind: 'classifier' }> } }

/** What a classifier has learnt to tell, as messages call it. */
const learnt: Readonly<Record<ClassifierKind, string>> = { levels: 'minority levels', classes: 'classes', attributes: 'attributes', real: 'real and synthetic images' }

/** What the classifiers of each option must have learnt, where their files say. An extractor may have learnt anything. */
const takes: Readonly<Record<string, readonly ClassifierKind[]>> = {
  classifier: ['classes'], 'minority-classifier': ['levels'], 'attributes-classifier': ['attributes'], 'sehwag-discriminator': ['real'],
  // For its features: those of a discriminator know nothing of classes.
  'sehwag-classifier': ['classes', 'levels', 'attributes'],
}

/** A file that holds a classifier trained with the model's noise. */
export async function classifierFile(option: string, path: string, preset: string | null, { opener, settings, model }: Context): Promise<ClassifierFile> {
  const file = await opener.open(option, path, preset)
  const { config, diffusion } = file.description
  if (config.kind !== 'classifier') fail(`${path}: a U-Net, but --${option} takes a classifier.`)
  if (diffusion) checkProcess(path, { ...diffusion, schedule: diffusion.noiseSchedule }, settings)
  const said = classifierMetadata(file.checkpoint.metadata, path)
  const kinds = takes[option]
  if (said && kinds && !kinds.includes(said.of)) fail(`${path}: a classifier of ${learnt[said.of]} (train classifier --of ${said.of}), but --${option} takes one of ${kinds.map((kind) => learnt[kind]).join(' or ')}.`)
  if (config.numClasses !== null && config.numClasses !== model.numClasses) fail(`${path}: a class-conditional classifier needs a model with the same classes.`)
  return file as ClassifierFile
}

type Process = Pick<SampleSettings, 'schedule' | 'diffusionSteps' | 'rescaleTimesteps'>

/** A classifier is told the timesteps the network is told, and means nothing at those of another process. */
export function checkProcess(path: string, trained: Process, drawn: Process): void {
  const told = ({ schedule, diffusionSteps, rescaleTimesteps }: Process): string => `${schedule}, ${diffusionSteps} steps${rescaleTimesteps ? ', rescaled' : ''}`
  if (told(trained) === told(drawn)) return
  fail(`${path}: a classifier of the noise "${told(trained)}", but the model draws with "${told(drawn)}": ` +
    "train the classifier with the model's, or take the model it was trained for.")
}

/** It reads the images that are drawn. */
export function checkPixels({ path, description: { config } }: ClassifierFile, { model }: Context, otherwise = ''): void {
  if (config.inChannels !== model.inChannels) fail(`${path}: takes ${config.inChannels} channels, but the model draws ${model.inChannels}${otherwise}.`)
  const [takes, draws] = [config.imageSize, model.imageSize]
  if (takes !== draws) fail(`${path}: takes ${takes} x ${takes} pixels, but the model draws ${draws} x ${draws}${otherwise}.`)
}

export const needOf = ({ description: { config } }: ClassifierFile, images: Pick<ImageNeed, 'batch'> & Partial<ImageNeed>): DeviceNeed =>
  memoryOf(config, { ...images, gradient: true })

export const load = async (device: Device, file: ClassifierFile, signal: AbortSignal): Promise<Classifier> => await loadWithProgress(device, file, signal) as Classifier
