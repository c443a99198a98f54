import { classifierMetadata, type ClassifierKind, type Guidance } from '../diffusion/index.ts'
import {
  isSameNoise,
  memoryOf,
  noiseInWords,
  type Classifier,
  type NoiseProcess,
  type UNetConfig,
} from '../nn/index.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import { fail } from './fail.ts'
import type { ModelFile } from './model-file.ts'

/** What leads the samples of a batch. */
export interface Lead {
  /** Its term of the score. */
  readonly guidance: Guidance
  /** For people: what each sample is led to, where that is not an option of the run. */
  readonly targets?: readonly (number | string)[]
}

/** Opens files for a run, which closes them. */
export interface Opener<File> {
  /** The file of an option; `preset`: the published model it is, as its user says. */
  open(option: string, file: File, preset?: string | null): Promise<ModelFile>
  /** SHA-256 of a file that was opened. */
  hash(option: string): Promise<string>
  /** Its network, on the device. */
  load(device: Device, file: ModelFile, signal: AbortSignal | undefined): Promise<unknown>
  /** An option as its user writes it: `--extractor`, `extractor`. */
  called(option: string): string
}

/** Takes what is to be disposed of with the run, and gives it back. */
export type Hold = <T extends { dispose(): void }>(thing: T) => T

/** Of what images memory is asked for. */
export interface ImageNeed {
  readonly batch: number
  readonly size: readonly [height: number, width: number]
}

/** What the files of a guidance have to fit, and what opens them. */
export interface Context<File> {
  /** That of the model. */
  readonly process: NoiseProcess
  readonly model: UNetConfig
  readonly opener: Opener<File>
}

/** An opened file that holds a classifier. */
export type ClassifierFile = ModelFile & {
  readonly description: { readonly config: Extract<ModelFile['description']['config'], { kind: 'classifier' }> }
}

/** What a classifier has learnt to tell, as messages call it. */
export const learnt: Readonly<Record<ClassifierKind, string>> = {
  levels: 'minority levels',
  classes: 'classes',
  attributes: 'attributes',
  real: 'real and synthetic images',
}

/**
 * What the classifiers of each option must have learnt, where their files say. An extractor may have learnt anything.
 */
const takes: Readonly<Record<string, readonly ClassifierKind[]>> = {
  classifier: ['classes'],
  'minority-classifier': ['levels'],
  'attributes-classifier': ['attributes'],
  'sehwag-discriminator': ['real'],
  // For its features: those of a discriminator know nothing of classes.
  'sehwag-classifier': ['classes', 'levels', 'attributes'],
}

/** A file that holds a classifier trained with the model's noise. */
export async function classifierFile<File>(
  option: string,
  where: File,
  preset: string | null,
  { opener, process, model }: Context<File>,
): Promise<ClassifierFile> {
  const file = await opener.open(option, where, preset)
  const {
    name,
    description: { config, diffusion },
  } = file
  if (config.kind !== 'classifier') fail(`${name}: a U-Net, but ${opener.called(option)} takes a classifier.`)
  if (diffusion) checkProcess(name, diffusion, process)
  const said = classifierMetadata(file.checkpoint.metadata, name)
  const kinds = takes[option]
  if (said && kinds && !kinds.includes(said.of))
    fail(
      `${name}: a classifier of ${learnt[said.of]} (train classifier --of ${said.of}), but ` +
        `${opener.called(option)} takes one of ${kinds.map((kind) => learnt[kind]).join(' or ')}.`,
    )
  if (config.numClasses !== null && config.numClasses !== model.numClasses)
    fail(`${name}: a class-conditional classifier needs a model with the same classes.`)
  return file as ClassifierFile
}

/** A classifier is told the timesteps the network is told, and means nothing at those of another process. */
export function checkProcess(name: string, trained: NoiseProcess, drawn: NoiseProcess): void {
  if (isSameNoise(trained, drawn)) return
  fail(
    `${name}: a classifier of the noise "${noiseInWords(trained)}", but the model draws with ` +
      `"${noiseInWords(drawn)}": ` +
      "train the classifier with the model's, or take the model it was trained for.",
  )
}

/** It reads the images that are drawn. */
export function checkPixels(
  { name, description: { config } }: ClassifierFile,
  { model }: { readonly model: UNetConfig },
  otherwise = '',
): void {
  if (config.inChannels !== model.inChannels)
    fail(`${name}: takes ${config.inChannels} channels, but the model draws ${model.inChannels}${otherwise}.`)
  const [takes, draws] = [config.imageSize, model.imageSize]
  if (takes !== draws)
    fail(`${name}: takes ${takes} x ${takes} pixels, but the model draws ${draws} x ${draws}${otherwise}.`)
}

/** What guiding by this classifier takes on the device. */
export const needOf = (
  { description: { config } }: ClassifierFile,
  images: Pick<ImageNeed, 'batch'> & Partial<ImageNeed>,
): DeviceNeed => memoryOf(config, { ...images, gradient: true })

/** Loads it; which network it holds is known since it was opened. */
export const load = async (
  device: Device,
  file: ClassifierFile,
  { load: read }: Pick<Opener<never>, 'load'>,
  signal?: AbortSignal,
): Promise<Classifier> => (await read(device, file, signal)) as Classifier
