import type { ModelConfig } from '../nn/index.ts'
import { fail } from './fail.ts'

/** Item `k` of a list that starts over at its end. */
export const cycled = (values: readonly number[], k: number): number => values[k % values.length]

/** Classes of these samples; undefined for a model without classes, whose `labels` are empty. */
export const labelsOf = (labels: readonly number[], samples: readonly number[]): number[] | undefined =>
  labels.length === 0 ? undefined : samples.map((k) => cycled(labels, k))

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
