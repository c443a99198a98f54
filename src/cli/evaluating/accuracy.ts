/** What part of samples a classifier takes for the class that they were made as, in sets with labels. */
import { basename } from 'node:path'
import { imageBatch } from '../../data/index.ts'
import { classifierMetadata } from '../../diffusion/index.ts'
import { accuracy, type Measured } from '../../metrics/index.ts'
import type { Classifier } from '../../nn/index.ts'
import type { Device } from '../../tensor/index.ts'
import { learnt } from '../../tweedie/guidance-files.ts'
import { fail } from '../arguments.ts'
import { loadWithProgress, openModel, sha256OfFile } from '../files.ts'
import { slowProgress } from '../progress.ts'
import type { NamedSet } from './sets.ts'

/** Pictures at a time. */
const batch = 16

/** A classifier of clean images, and its answers by method. */
export interface ClassifierAnswers {
  readonly about: { readonly name: string; readonly sha256: string }
  /** Null where a method's images have no labels. */
  readonly methods: readonly (Measured | null)[]
  /** Of the real images, likewise; null too where there are statistics alone. */
  readonly real: Measured | null
}

/**
 * Asks the classifier of a file, at timestep 0.
 *
 * @throws TweedieError 'option' for a file of no classifier, or one of minority levels, attributes or real images
 */
export async function classifierAnswers(
  device: Device,
  path: string,
  methods: readonly NamedSet[],
  real: NamedSet | null,
  signal: AbortSignal,
): Promise<ClassifierAnswers> {
  const file = await openModel(path, {}, signal)
  try {
    const { config } = file.description
    if (config.kind !== 'classifier')
      return fail(`--classifier ${path}: expected a classifier, found a ${config.kind}.`)
    const said = classifierMetadata(file.checkpoint.metadata, path)
    if (said && said.of !== 'classes')
      fail(`--classifier ${path}: expected a classifier of classes, found one of ${learnt[said.of]}.`)
    const model = await loadWithProgress(device, file, signal)
    try {
      const answers: (Measured | null)[] = []
      for (const method of methods) answers.push(await answersOf(device, model as Classifier, method, signal))
      return {
        about: { name: basename(path), sha256: await sha256OfFile(path, signal) },
        methods: answers,
        real: real && (await answersOf(device, model as Classifier, real, signal)),
      }
    } finally {
      model.dispose()
    }
  } finally {
    await file.checkpoint.close()
  }
}

async function answersOf(
  device: Device,
  model: Classifier,
  { name, set }: NamedSet,
  signal: AbortSignal,
): Promise<Measured | null> {
  if (!set.labels) return null
  const { imageSize: size, inChannels, outChannels: dimension } = model.config
  const data = new Float32Array(set.length * dimension)
  const bar = slowProgress(`Classes of ${name}`, 'images')
  try {
    for (let first = 0; first < set.length; first += batch) {
      const indices = Array.from({ length: Math.min(batch, set.length - first) }, (_, i) => first + i)
      const { images } = await imageBatch(set, indices, { size, channels: inChannels as 1 | 3 }, signal)
      using x = device.tensor(images, [indices.length, inChannels, size, size])
      using logits = model.forward(x, new Int32Array(indices.length))
      data.set(await logits.read(), first * dimension)
      bar.update(first + indices.length, set.length)
    }
  } finally {
    bar.stop()
  }
  return accuracy({ data, dimension }, set.labels)
}
