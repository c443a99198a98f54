import type { ModelConfig } from '../nn/index.ts'
import { refuseOther } from '../refuse.ts'
import { hostRandomUniform, splitSeed } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import { fail } from './fail.ts'

/** Classes by a word: of each sample by chance, or all classes in turn. */
export const labelWords = ['random', 'all'] as const
/** One of {@link labelWords}. */
export type LabelWord = (typeof labelWords)[number]
/** Classes of samples in order, starting over at the end, or by a word. */
export type LabelWish = readonly number[] | LabelWord

/** The word of a wish that is none of classes by number. */
export const labelWord = (wish: LabelWish | undefined): LabelWord | null => (typeof wish === 'string' ? wish : null)

/**
 * What a record has of the classes that a classifier leads to. Where they are labels that go by a word it has nothing,
 * and a replay takes the same labels; labels by their numbers stand there again.
 */
export const targetWish = (
  target: LabelWish | null,
  { labels, labelWord: word }: { readonly labels: readonly number[]; readonly labelWord: LabelWord | null },
): LabelWish | null => target ?? (word === null ? labels : null)

/** Item `k` of a list that starts over at its end. */
export const cycled = (values: readonly number[], k: number): number => values[k % values.length]

/** Classes of these samples; undefined for a model without classes, whose `labels` are empty. */
export const labelsOf = (labels: readonly number[], samples: readonly number[]): number[] | undefined =>
  labels.length === 0 ? undefined : samples.map((k) => cycled(labels, k))

/** What random classes depend on: the seed, and each sample's number in the run. */
export interface LabelStream {
  readonly seed: number
  readonly samples: readonly number[]
}

/**
 * A class for each sample, uniform among `numClasses`, as guided-diffusion's scripts draw them (image_sample.py:
 * `th.randint(low=0, high=NUM_CLASSES)`).
 */
export function randomLabels(numClasses: number, { seed, samples }: LabelStream): number[] {
  const uniform = hostRandomUniform({ seed: splitSeed(seed), draw: 0, purpose: purposes.label }, samples, 1)
  return Array.from(uniform, (u) => Math.floor(u * numClasses))
}

/**
 * A wish as a list: 'all' are the classes of the model once, 'random' one for each of the `number` samples. Of a model
 * without classes empty, which {@link checkLabels} refuses.
 */
export function labelList(
  wish: LabelWish | undefined,
  { numClasses }: Pick<ModelConfig, 'numClasses'>,
  { number, seed }: { readonly number: number; readonly seed: number },
): readonly number[] | undefined {
  if (typeof wish !== 'string') return wish
  refuseOther('labels', wish, labelWords)
  const count = (n: number): number[] => Array.from({ length: n }, (_, k) => k)
  if (numClasses === null) return []
  return wish === 'all' ? count(numClasses) : randomLabels(numClasses, { seed, samples: count(number) })
}

/**
 * Labels for a model: one or more of its classes, or none for a model without classes. `called`: the option as its user
 * writes it, and an example.
 */
export function checkLabels(
  labels: readonly number[] | undefined,
  { numClasses }: Pick<ModelConfig, 'numClasses'>,
  { called, example }: { readonly called: string; readonly example: string },
): number[] {
  if (numClasses === null)
    return labels === undefined ? [] : fail(`${called} is for class-conditional models; this one has no classes.`)
  if (labels === undefined || labels.length === 0)
    return fail(
      `the model is class-conditional: ${called} says which of its ${numClasses} classes to take, as in ${example}.`,
    )
  const wrong = labels.find((label) => !(Number.isInteger(label) && label >= 0 && label < numClasses))
  return wrong === undefined
    ? [...labels]
    : fail(`${called}: the model's classes are 0 to ${numClasses - 1}, found ${wrong}.`)
}
