/**
 * The images of `train classifier` with what they are labelled with, whichever of the four kinds it is: minority
 * levels, classes, attributes, real or synthetic. Also which of them are trained on, and which are held back.
 */
import { readFile } from 'node:fs/promises'
import {
  attributesOf,
  joinSets,
  parseAttributes,
  subset,
  type Batch,
  type ImageAttributes,
  type ImageSet,
} from '../../data/index.node.ts'
import {
  checkFingerprint,
  parseMinorityLabels,
  type ClassifierKind,
  type MinorityLabels,
} from '../../diffusion/index.ts'
import { isSameNoise, noiseInWords, type NoiseProcess } from '../../nn/index.ts'
import { splitLabelled, splitLevels, type ClassifierImages, type SplitLevelsOptions } from '../../train/index.ts'
import { fail, type Arguments } from '../arguments.ts'
import { sha256Of } from '../files.ts'
import { choice, file, images, number, text } from '../option.ts'
import { noteIdle } from '../options/guidance.ts'
import type { imageOptions, trainOptions } from '../options/training.ts'
import { openNoted } from '../options/data.ts'
import { openTrainingData } from './train-data.ts'
import { tell } from '../print.ts'

export const labelOptions = {
  of: choice(['levels', 'classes', 'attributes', 'real'], {
    help:
      'what it learns to tell: minority levels; the classes of the data; attributes; whether an ' +
      'image is real or synthetic',
    default: 'levels',
  }),
  labels: file({
    value: 'FILE',
    help: 'minority levels of the data, as tweedie label writes them',
    otherwise: 'with --classes-by the classes of the data, where these are named by levels from 0 on',
  }),
  attributes: text({
    value: 'Bald,Eyeglasses',
    help: 'of --of attributes: which, columns of --attributes-file or arrays of an .npz',
  }),
  'attributes-file': file({
    value: 'FILE',
    help: "CelebA's list_attr_celeba.txt, or a CSV: an image's name, then 1, or 0 or -1, for each attribute",
  }),
  synthetic: images({ value: 'DATA', help: 'of --of real: synthetic images, such as the folder of tweedie sample' }),
  validate: number({
    value: '0..0.9',
    min: 0,
    max: 0.9,
    help: 'part of every level or class held back from training to test it',
    otherwise: 'the held-out part of --select where it has labels, else 0.05',
  }),
}

type Args = Arguments<typeof labelOptions & typeof imageOptions & Pick<typeof trainOptions, 'out'>>

export interface LabelledImages {
  readonly of: ClassifierKind
  /** Of what the classifier's outputs stand for. */
  readonly names: readonly string[]
  /** The whole data set. */
  readonly all: ImageSet
  readonly train: ImageSet
  readonly heldBack: ImageSet | null
  /** Training images of each level or class, or with each attribute. */
  readonly counts: readonly number[]
  /** What image `index` of the whole data set is labelled with: one level or class, or a 1 or 0 for each attribute. */
  labelsOf(index: number): readonly number[]
  /** Of the file of levels or attributes; null where the images themselves say all. */
  readonly sha256: string | null
  /** With --of levels, from a file of labels. */
  readonly levels?: { readonly file: MinorityLabels; readonly path: string }
}

export async function openLabelled(args: Args, seed: number, signal: AbortSignal): Promise<LabelledImages> {
  const of = args.get('of')
  noteIdle(args, '--of levels', of === 'levels', ['labels'])
  noteIdle(args, '--of attributes', of === 'attributes', ['attributes', 'attributes-file'])
  noteIdle(args, '--of real', of === 'real', ['synthetic'])
  const open = { levels: openLevels, classes: openClasses, attributes: openAttributes, real: openReal }[of]
  return open(args, seed, signal)
}

const textOf = (path: string): Promise<string> =>
  readFile(path, 'utf8').catch((error: Error) => fail(`cannot read ${path}: ${error.message}`))
const sha256OfText = (text: string): string => sha256Of(new TextEncoder().encode(text))
const range = (length: number): number[] => Array.from({ length }, (_, i) => i)

/** Numbers of a set's images in the whole data set. */
const numbersOf = ({ origin, length }: ImageSet): readonly number[] => origin?.indices ?? range(length)

/** The images, and how the options say that they are to be split. */
async function openParts(
  args: Args,
  seed: number,
  signal: AbortSignal,
): Promise<{ all: ImageSet; split: SplitLevelsOptions }> {
  const { set, heldOut } = await openTrainingData(args, signal)
  const fraction = args.get('validate')
  const split = {
    images: numbersOf(set),
    ...(heldOut && { heldOut: numbersOf(heldOut) }),
    seed,
    ...(fraction !== undefined && { fraction }),
  }
  return { all: set.origin?.set ?? set, split }
}

const partsOf = (
  all: ImageSet,
  { train, validate }: { readonly train: readonly number[]; readonly validate: readonly number[] },
): Pick<LabelledImages, 'all' | 'train' | 'heldBack'> => ({
  all,
  train: subset(all, train),
  heldBack: validate.length > 0 ? subset(all, validate) : null,
})

async function openLevels(args: Args, seed: number, signal: AbortSignal): Promise<LabelledImages> {
  const path = args.get('labels')
  if (path === undefined) return levelsOfFolder(args, seed, signal)
  const text = await textOf(path)
  const file = parseMinorityLabels(text, path)
  const { all, split } = await openParts(args, seed, signal)
  checkFingerprint(file, path, all)
  const found = splitLevels(file, split)
  const levelOf = new Map(file.indices.map((index, i) => [index, file.labels[i]]))
  return {
    of: 'levels',
    names: range(file.levels).map(String),
    ...partsOf(all, found),
    counts: found.counts,
    labelsOf: (index) => [levelOf.get(index)!],
    sha256: sha256OfText(text),
    levels: { file, path },
  }
}

/** Images that came with their levels, as minority-guidance's construct_ms_dataset.py names them: `0099_name.jpg`. */
async function levelsOfFolder(args: Args, seed: number, signal: AbortSignal): Promise<LabelledImages> {
  const needed =
    '--labels is required: minority levels of the data, which tweedie score and tweedie label make; --of classes, ' +
    'attributes or real needs none'
  // Classes called 0, 1, 2 are mostly no levels: they are taken for such where somebody says where they stand.
  if (!args.has('data') || !args.has('classes-by'))
    fail(`${needed}, nor do images whose names begin with their level, with --classes-by prefix.`)
  const { all, split } = await openParts(args, seed, signal)
  const { labels, classes = [] } = all
  if (!labels || classes.length < 2 || classes.some((name, level) => !/^\d+$/.test(name) || Number(name) !== level))
    return fail(
      `${needed}. Nor are the classes of ${all.name} levels, which are named from 0 on (--classes-by prefix takes ` +
        'what stands before "_" in a file\'s name, as minority-guidance\'s construct_ms_dataset.py writes it).',
    )
  const found = splitLabelled({ levels: classes.length, indices: range(all.length), labels }, split)
  return {
    of: 'levels',
    names: range(classes.length).map(String),
    ...partsOf(all, found),
    counts: found.counts,
    labelsOf: (index) => [labels[index]],
    sha256: null,
  }
}

async function openClasses(args: Args, seed: number, signal: AbortSignal): Promise<LabelledImages> {
  const { all, split } = await openParts(args, seed, signal)
  const { labels, classes = [] } = all
  if (!labels)
    return fail(
      `${all.name}: --of classes needs the class of each image: sub-folders, names with a prefix and ` +
        '"_", or an array of labels.',
    )
  const found = splitLabelled({ levels: classes.length, indices: range(all.length), labels }, split)
  const empty = classes.filter((_, c) => found.counts[c] === 0)
  if (classes.length - empty.length < 2)
    fail(
      `${all.name}: --of classes needs images of two classes or more to train on, found ` +
        `${found.counts.map((n, c) => `${n} of ${classes[c]}`).join(', ')}.`,
    )
  if (empty.length > 0)
    tell(`note: no image to train on of the classes ${empty.join(', ')}: the classifier cannot tell them.`)
  return {
    of: 'classes',
    names: classes,
    ...partsOf(all, found),
    counts: found.counts,
    labelsOf: (index) => [labels[index]],
    sha256: null,
  }
}

async function openAttributes(args: Args, seed: number, signal: AbortSignal): Promise<LabelledImages> {
  const names = args
    .required('attributes', ': which attributes are to be told, as in --attributes Bald,Eyeglasses')
    .split(',')
    .map((name) => name.trim())
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) fail(`--attributes: ${twice} is named twice.`)
  const path = args.get('attributes-file')
  const text = path === undefined ? null : await textOf(path)
  const { all, split } = await openParts(args, seed, signal)
  const { indices, values } =
    text === null ? columnsOf(all, names) : attributesOf(parseAttributes(text, path!), all, names)
  if (indices.length < all.length)
    tell(
      `note: ${(all.length - indices.length).toLocaleString('en')} of ${all.length.toLocaleString('en')} images ` +
        `are not in ${path} and not used.`,
    )
  const found = splitLabelled({ levels: 1, indices, labels: indices.map(() => 0) }, split)
  if (found.train.length === 0) fail(`${path}: has none of the images that are to be trained on.`)
  const rowOf = new Map(
    indices.map((index, i) => [index, Array.from(values.subarray(i * names.length, (i + 1) * names.length))]),
  )
  const counts = names.map((_, k) => found.train.filter((index) => rowOf.get(index)![k] === 1).length)
  names.forEach((name, k) => {
    if (counts[k] === 0 || counts[k] === found.train.length)
      fail(
        `${path ?? all.name}: ${counts[k] === 0 ? 'no' : 'every'} image to train on has the attribute ${name}: ` +
          'nothing can be learnt of it. Leave it out.',
      )
  })
  return {
    of: 'attributes',
    names,
    ...partsOf(all, found),
    counts,
    labelsOf: (index) => rowOf.get(index)!,
    sha256: text === null ? null : sha256OfText(text),
  }
}

/** Attributes that are arrays of the data itself. */
function columnsOf(all: ImageSet, names: readonly string[]): ImageAttributes {
  const columns = names.map(
    (name) =>
      all.columns.get(name) ??
      fail(
        `${all.name} has no array ` +
          `${name}${all.columns.size > 0 ? `, only ${[...all.columns.keys()].join(', ')}` : ''}: --attributes-file ` +
          'names the table of attributes.',
      ),
  )
  const values = Uint8Array.from({ length: all.length * names.length }, (_, i) => {
    const [index, k] = [Math.floor(i / names.length), i % names.length]
    const value = Number(columns[k][index])
    return [1, 0, -1].includes(value)
      ? Math.max(0, value)
      : fail(
          `${all.name}: the array ${names[k]} is no attribute, 1 or 0 for each image: found ` +
            `${value} for image ${index}.`,
        )
  })
  return { indices: range(all.length), values }
}

async function openReal(args: Args, seed: number, signal: AbortSignal): Promise<LabelledImages> {
  const path = args.required(
    'synthetic',
    ': synthetic images, which the classifier learns to tell from those of --data; tweedie sample makes some',
  )
  const { all: real, split } = await openParts(args, seed, signal)
  const skipBad = args.get('skip-bad')
  const synthetic = await openNoted(path, { signal, ...(skipBad && { skipBad }) })
  if (synthetic.fingerprint === real.fingerprint) fail(`--data and --synthetic are the same images, ${path}.`)
  const { heldOut: _, ...whole } = { ...split, images: range(synthetic.length) }
  const [ours, theirs] = [splitLabelled(oneOf(real), split), splitLabelled(oneOf(synthetic), whole)]
  const both = (part: 'train' | 'validate'): number[] => [
    ...ours[part],
    ...theirs[part].map((index) => real.length + index),
  ]
  // sehwagGuidance takes the first of its classes for the real one.
  return {
    of: 'real',
    names: ['real', 'synthetic'],
    ...partsOf(joinSets([real, synthetic]), { train: both('train'), validate: both('validate') }),
    counts: [ours.train.length, theirs.train.length],
    labelsOf: (index) => [index < real.length ? 0 : 1],
    sha256: null,
  }
}

/** All images of a set in one class. */
const oneOf = ({ length }: ImageSet): { levels: number; indices: number[]; labels: number[] } => ({
  levels: 1,
  indices: range(length),
  labels: range(length).fill(0),
})

/** Adds its labels, and its class if a network is `conditional`, to every image of a batch of a part of the data. */
export function labelled(
  { labelsOf }: LabelledImages,
  conditional: boolean,
): (part: ImageSet, batch: Batch) => ClassifierImages {
  return (part, { images, indices, labels: y }) => {
    const numbers = numbersOf(part)
    return { images, labels: indices.flatMap((i) => labelsOf(numbers[i])), ...(conditional && y && { y }) }
  }
}

/** Scores of a model with other noise say what that model finds rare. `said`: an option chose the process. */
export function checkScored(
  { file: { scores }, path }: { readonly file: MinorityLabels; readonly path: string },
  process: NoiseProcess,
  said: boolean,
): void {
  const scored = { ...process, schedule: scores.schedule, diffusionSteps: scores.diffusionSteps }
  if (isSameNoise(scored, process)) return
  const message =
    `${path} was scored with a model of the noise "${noiseInWords(scored)}", but the classifier is to be ` +
    `trained on "${noiseInWords(process)}"`
  if (said) tell(`note: ${message}.`)
  else
    fail(
      `${message}: score the data with the model that is to be guided, or, if this is meant, add --schedule ` +
        `${process.schedule} --diffusion-steps ${process.diffusionSteps}.`,
    )
}

/** For people: how many training images there are of what. */
export function countsOf({ of, names, counts, train }: LabelledImages): string {
  const each = (): string => names.map((name, k) => `${counts[k].toLocaleString('en')} ${name}`).join(', ')
  if (of === 'attributes' || of === 'real') return `${train.length.toLocaleString('en')} training images, ${each()}`
  const [least, most] = [Math.min(...counts), Math.max(...counts)]
  const shown =
    least === most ? String(least) : `${least} to ${most}${most > 1.1 * least ? ` (${counts.join(', ')})` : ''}`
  return `${names.length} ${of} of ${shown} training images`
}

/** What a classifier without a look at the image can reach at best, by how many images are of what. */
export function guessing({ of, counts, train }: LabelledImages): { loss: number; acc1: number } {
  const entropy = (parts: readonly number[]): number =>
    parts.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0)
  const shares = counts.map((count) => count / train.length)
  if (of !== 'attributes') return { loss: entropy(shares), acc1: Math.max(...shares) }
  const mean = (value: (p: number) => number): number => shares.reduce((sum, p) => sum + value(p), 0) / shares.length
  return { loss: mean((p) => entropy([p, 1 - p])), acc1: mean((p) => Math.max(p, 1 - p)) }
}
