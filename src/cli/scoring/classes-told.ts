/** The classes that a class-conditional model is told of images that are there. */
import type { ImageSet } from '../../data/index.ts'
import type { ModelConfig } from '../../nn/index.ts'
import { checkLabels, cycled } from '../../tweedie/labels.ts'
import { fail, type Arguments } from '../arguments.ts'
import type { Option } from '../option.ts'

/** What a class-conditional model is told of each image: its class, or what --labels says. */
export function classesFor(
  args: Arguments<Record<'labels', Option<readonly number[]>>>,
  config: ModelConfig,
  { name, length, labels, classes = [] }: ImageSet,
): Int32Array | null {
  if (config.numClasses === null || args.has('labels') || !labels) {
    const given = checkLabels(args.get('labels'), config, { called: '--labels', example: '--labels 3,8' })
    return given.length === 0 ? null : Int32Array.from({ length }, (_, k) => cycled(given, k))
  }
  if (classes.length === config.numClasses) return labels
  return fail(
    `the model knows ${config.numClasses} classes, and ${name} has ${classes.length}: choose the data it was ` +
      'trained on, or say with --labels which class each image is.',
  )
}
