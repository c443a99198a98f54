/** The images of `train classifier` with their minority levels: which are trained on, and which are held back. */
import { readFile } from 'node:fs/promises'
import { subset, type Batch, type ImageSet } from '../data/index.ts'
import { checkFingerprint, parseMinorityLabels, type MinorityLabels } from '../diffusion/index.ts'
import { splitLevels, type ClassifierImages } from '../train/index.ts'
import { fail, type Arguments } from './arguments.ts'
import { told, type Process } from './classifier-options.ts'
import { sha256Of } from './files.ts'
import { openTrainingData, type ImageOption } from './train-options.ts'

export const labelOptions = {
  labels: { value: 'FILE', help: 'minority levels of the data, as tweedie label writes them' },
  validate: { value: '0..0.9', help: 'part of every level held back from training to test it', default: 'the held-out part of --select where it has labels, else 0.05' },
} as const

export interface LevelledImages {
  readonly labels: MinorityLabels
  readonly path: string
  /** Of the labels file. */
  readonly sha256: string
  /** The whole data set. */
  readonly all: ImageSet
  readonly train: ImageSet
  readonly heldBack: ImageSet | null
  /** Training images of each level. */
  readonly counts: readonly number[]
}

export async function openLevels(args: Arguments<keyof typeof labelOptions | ImageOption>, seed: number, signal: AbortSignal): Promise<LevelledImages> {
  const path = args.required('labels', ': minority levels of the data, which tweedie score and tweedie label make')
  const text = await readFile(path, 'utf8').catch((error: Error) => fail(`cannot read ${path}: ${error.message}`))
  const labels = parseMinorityLabels(text, path)
  const { set, heldOut } = await openTrainingData(args, signal)
  const all = set.origin?.set ?? set
  checkFingerprint(labels, path, all)
  const fraction = args.number('validate', { min: 0, max: 0.9 })
  const { train, validate, counts } = splitLevels(labels, {
    images: numbersOf(set), ...(heldOut && { heldOut: numbersOf(heldOut) }), seed, ...(fraction !== undefined && { fraction }),
  })
  return { labels, path, sha256: sha256Of(new TextEncoder().encode(text)), all, train: subset(all, train), heldBack: validate.length > 0 ? subset(all, validate) : null, counts }
}

/** Numbers of a set's images in the whole data set. */
const numbersOf = ({ origin, length }: ImageSet): readonly number[] => origin?.indices ?? Array.from({ length }, (_, i) => i)

/** Adds its level, and its class if a network is `conditional`, to every image of a batch of a part of the data. */
export function levelled({ labels: { indices, labels } }: LevelledImages, conditional: boolean): (part: ImageSet, batch: Batch) => ClassifierImages {
  const levelOf = new Map(indices.map((index, i) => [index, labels[i]!]))
  return (part, { images, indices, labels: y }) => {
    const numbers = numbersOf(part)
    return { images, labels: indices.map((i) => levelOf.get(numbers[i]!)!), ...(conditional && y && { y }) }
  }
}

/** Scores of a model with other noise say what that model finds rare. `said`: an option chose the process. */
export function checkScored({ labels: { scores }, path }: LevelledImages, process: Process, said: boolean): void {
  const scored = { ...process, noiseSchedule: scores.schedule, diffusionSteps: scores.diffusionSteps }
  if (told(scored) === told(process)) return
  const message = `${path} was scored with a model of the noise "${told(scored)}", but the classifier is to be trained on "${told(process)}"`
  if (said) console.error(`note: ${message}.`)
  else fail(`${message}: score the data with the model that is to be guided, or, if this is meant, add --schedule ${process.noiseSchedule} --diffusion-steps ${process.diffusionSteps}.`)
}

/** "391", "390 to 392", with every count where they differ by more than a tenth. */
export function countsOf(counts: readonly number[]): string {
  const [least, most] = [Math.min(...counts), Math.max(...counts)]
  if (least === most) return String(least)
  return `${least} to ${most}${most > 1.1 * least ? ` (${counts.join(', ')})` : ''}`
}
