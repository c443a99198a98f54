import {
  attributeLogProbability,
  classifierLogits,
  GaussianDiffusion,
  qSampleEach,
  UniformSampler,
  type ScheduleSampler,
} from '../diffusion/index.ts'
import { logProbability } from '../diffusion/guidance/guidance.ts'
import { checkSteps } from '../diffusion/process/per-sample.ts'
import { handedOn, isReplayable } from '../diffusion/process/replayable.ts'
import { TweedieError } from '../errors.ts'
import type { Classifier } from '../nn/index.ts'
import {
  expression,
  f,
  gather,
  liveOf,
  map,
  mean,
  neg,
  now,
  randomNormal,
  reshape,
  splitSeed,
  stopGradient,
  sum,
  type Device,
  type Live,
  type Tensor,
} from '../tensor/index.ts'
import { numbersOf, quartiles, quartilesOf, timestepChoices, trainPurposes } from './diffusion.ts'
import type { Draw, Task } from './trainer.ts'

/**
 * Images of one batch, [N, C, H, W] in [-1, 1], what each is labelled with and, for class-conditional
 * networks, its class.
 */
export interface ClassifierImages {
  readonly images: Float32Array
  /**
   * [N], the minority level or the class of each image; with `binaryCrossEntropy` [N, K], 1 for an
   * attribute it has, else 0.
   */
  readonly labels: ArrayLike<number>
  readonly y?: ArrayLike<number>
}

/** A classifier of noisy images, the process that noises them, and what it is asked. */
export interface NoisyClassifier {
  readonly classifier: Classifier
  /** The frozen classifier whose middle-block output `classifier` reads. Default none: it reads pixels. */
  readonly extractor?: Classifier
  readonly diffusion: GaussianDiffusion
  /** Of one label an image, or of K attributes. Default `'crossEntropy'`. */
  readonly loss?: ClassifierLoss
}

/**
 * What a classifier is told: one label an image (`'crossEntropy'`), or for each of K attributes whether the image has
 * it (`'binaryCrossEntropy'`).
 */
export type ClassifierLoss = 'crossEntropy' | 'binaryCrossEntropy'

/** Options of {@link classifierTask}. */
export interface ClassifierTaskOptions extends NoisyClassifier {
  /** Images number `first` to `first + count - 1` of an endless stream. */
  readonly load: (first: number, count: number, signal?: AbortSignal) => Promise<ClassifierImages>
  readonly seed: number
  /** Default: uniform. */
  readonly scheduleSampler?: ScheduleSampler
}

/** A batch of {@link classifierTask}: images, the number of the first in the run, and a timestep for each. */
export interface ClassifierDraw extends Draw, ClassifierImages {
  readonly first: number
  readonly t: readonly number[]
}

// 1 for every logit that is as large as the label's own, itself among them.
const notBelow = expression(2, 0, ([logit, own]) => f.ge(logit, own))
// 1 where a logit is positive and the attribute there, or neither.
const sameSign = expression(2, 0, ([logit, has]) => f.gt(f.mul(logit, f.sub(has, 0.5)), 0))
const within = expression(1, 1, ([rank], [k]) => f.ge(k, rank))

/** The `k` of acc@k that say something of `classes` classes. */
const topsOf = (classes: number): number[] => [1, 5].filter((k) => k < classes)

/** Shape [C, H, W] of the images that are noised. */
function imageShape({ classifier, extractor }: NoisyClassifier): [number, number, number] {
  const { inChannels, imageSize } = (extractor ?? classifier).config
  return [inChannels, imageSize, imageSize]
}

/** What each image loses, and how well it was told, each [N]. */
interface Losses {
  readonly loss: Tensor
  /** The accuracy first. */
  readonly terms: Readonly<Record<string, Tensor>>
}

/**
 * Of logits [N, L] and labels [N]. `acc@k`, 1 or 0: whether the label is among the k most likely; `acc@5` where there
 * are more than 5. An equally likely one counts as more likely, so that a network that says nothing is never right.
 */
function crossEntropy(logits: Tensor, labels: Live<readonly number[]>): Losses {
  const [n] = logits.shape
  const loss = reshape(neg(logProbability(logits, labels)), [n])
  const seen = stopGradient(logits)
  const own = gather(seen, 1, logits.device.tensor(labels, [n, 1], 'i32'))
  const rank = sum(map(notBelow, [seen, own]), { axes: [1] })
  return { loss, terms: Object.fromEntries(topsOf(logits.shape[1]).map((k) => [`acc@${k}`, map(within, [rank], [k])])) }
}

/**
 * Of logits [N, K] and K attributes an image, [N, K]. `acc`: the part of an image's attributes that is
 * told right, likewise.
 */
function binaryCrossEntropy(logits: Tensor, labels: Live<readonly number[]>): Losses {
  const has = liveOf(labels, (given) => {
    const wrong = given.find((label) => label !== 0 && label !== 1)
    if (wrong !== undefined) throw new TweedieError('option', `Attributes are 1, or 0 for none, found ${wrong}.`)
    return given.map((label) => label === 1)
  })
  const loss = neg(mean(attributeLogProbability(logits, has), { axes: [1] }))
  const right = map(sameSign, [stopGradient(logits), logits.device.tensor(labels, logits.shape)])
  return { loss, terms: { acc: mean(right, { axes: [1] }) } }
}

/** Images that are noised each to a step of its own. */
type Noised = ClassifierImages & { readonly t: readonly number[] }

/**
 * The losses of images that are noised with `noise` [N, C, H, W] to step `t[n]` of the process.
 * @throws TweedieError 'option' for a label that is no class of the classifier
 */
function lossesOf(device: Device, network: NoisyClassifier, batch: Live<Noised>, noise: Tensor): Losses {
  const { classifier, extractor, diffusion, loss = 'crossEntropy' } = network
  return device.scope(() => {
    const images = device.tensor(
      liveOf(batch, (given) => given.images),
      noise.shape,
    )
    const steps = liveOf(batch, ({ t }) => t)
    const y = now(batch).y && liveOf(batch, (given) => given.y ?? [])
    const x = qSampleEach(diffusion, images, steps, noise)
    const logits = classifierLogits(classifier, { ...(extractor && { extractor }), ...(y && { y }) })(
      x,
      handedOn(liveOf(steps, (t) => t.map((k) => diffusion.process.modelTimestep(k)))),
    )
    return (loss === 'crossEntropy' ? crossEntropy : binaryCrossEntropy)(
      logits,
      liveOf(batch, ({ labels }) => Array.from(labels)),
    )
  })
}

/**
 * The {@link Task} of training a classifier of noisy images: first of all the minority classifier p_psi(level | x_t
 * [, class]) (Um et al., ICLR 2024; minority-guidance classifier_train.py), but whatever an image is labelled with is
 * learnt so. The loss is the cross-entropy of an image's label, told from the image after it was noised to a step drawn
 * from all T,
 *
 *     loss = -log softmax(classifier(x_t, t'))[label],   x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise
 *
 * or of K attributes that an image has or has not, independent of each other,
 *
 *     loss = -1/K sum_k log sigmoid(+-classifier(x_t, t')[k]),   + where it has attribute k
 *
 * The classifier reads pixels, or the features of a frozen classifier of the same x_t: its parameters are trained, the
 * extractor's are not, and no gradient passes through it. t' is what the diffusion model is told: where its timesteps
 * are scaled to T = 1000, so are these. The trainers of guided-diffusion and minority-guidance (classifier_train.py)
 * give the raw ones, which their samplers then do not.
 *
 * @throws TweedieError 'option' if the classifier does not take what the extractor gives
 */
export function classifierTask(
  device: Device,
  { load, seed, scheduleSampler, ...network }: ClassifierTaskOptions,
): Task<ClassifierImages, ClassifierDraw> {
  const { classifier, extractor, diffusion } = network
  const sampler: ScheduleSampler = scheduleSampler ?? new UniformSampler(diffusion.steps)
  const shape = imageShape(network)
  const pixels = shape.reduce((a, b) => a * b)
  // What it says against the pair, it says now.
  classifierLogits(classifier, extractor && { extractor })
  return {
    parameters: classifier.parameters,
    groups: quartiles,
    load,
    draw(images, first) {
      const count = images.images.length / pixels
      const { t, weights } = sampler.sample(count, timestepChoices(seed, first))
      checkSteps(diffusion, t, count)
      return { ...images, first, t, weights, groups: quartilesOf(t, diffusion.steps) }
    },
    replayable:
      diffusion.constructor === GaussianDiffusion && [classifier, extractor ?? classifier].every(isReplayable),
    losses(given) {
      const draw = given as Live<ClassifierDraw>
      const samples = device.tensor(liveOf(draw, numbersOf), [now(draw).t.length], 'u32')
      const noise = randomNormal(samples, { seed: splitSeed(seed), draw: 0, purpose: trainPurposes.noise, shape })
      return lossesOf(device, network, draw, noise)
    },
    observe: (draw, losses) => sampler.update?.(draw.t, losses),
    save: () => sampler.save?.() ?? null,
    restore: (saved) => sampler.restore?.(saved),
  }
}

/** Means over all images and steps, and by quartile of the step. */
export interface ClassifierEvaluation {
  readonly images: number
  readonly loss: number
  /** Part of the images whose label the classifier thought the most likely; of attributes, the part told right. */
  readonly acc1: number
  readonly lossByQuartile: readonly number[]
  readonly acc1ByQuartile: readonly number[]
}

/** Options of {@link evaluateClassifier}. */
export interface EvaluateClassifierOptions extends NoisyClassifier {
  /** Images number `first` to `first + count - 1` of those to evaluate on. */
  readonly load: (first: number, count: number, signal?: AbortSignal) => Promise<ClassifierImages>
  readonly count: number
  /** Noised images at a time. Default 32. */
  readonly batch?: number
  readonly seed: number
  readonly signal?: AbortSignal
}

/**
 * Loss and accuracy on `count` fixed images, each at one step of every quartile of the process and with noise of its
 * own: the same question to every checkpoint, so that its answers can be compared.
 * @throws TweedieError 'non-finite' for a loss that is none
 */
export async function evaluateClassifier(
  device: Device,
  { load, count, batch = 32, seed, signal, ...network }: EvaluateClassifierOptions,
): Promise<ClassifierEvaluation> {
  const { steps } = network.diffusion
  const shape = imageShape(network)
  const parts = quartiles.length
  const sums = quartiles.map(() => ({ loss: 0, acc1: 0 }))
  const atOnce = Math.max(1, Math.floor(batch / parts))
  const fourTimes = (values: ArrayLike<number>): number[] => quartiles.flatMap(() => Array.from(values))
  for (let first = 0; first < count; first += atOnce) {
    const n = Math.min(atOnce, count - first)
    const { images, labels, y } = await load(first, n, signal)
    signal?.throwIfAborted()
    const repeated = new Float32Array(parts * images.length)
    for (let q = 0; q < parts; q++) repeated.set(images, q * images.length)
    // Multiples of the golden ratio fill a quartile evenly, however many images there are.
    const place = (i: number): number => ((first + i + 0.5) * 0.6180339887498949) % 1
    const rows = quartiles.flatMap((_, q) => Array.from({ length: n }, (_, i) => ({ q, i })))
    const t = rows.map(({ q, i }) => Math.floor(((q + place(i)) * steps) / parts))
    const made = device.scope(() => {
      const samples = device.tensor(
        rows.map(({ q, i }) => (first + i) * parts + q),
        [rows.length],
        'u32',
      )
      const noise = randomNormal(samples, { seed: splitSeed(seed), draw: 1, purpose: trainPurposes.noise, shape })
      const { loss, terms } = lossesOf(
        device,
        network,
        { images: repeated, labels: fourTimes(labels), t, ...(y && { y: fourTimes(y) }) },
        noise,
      )
      return { loss, acc1: Object.values(terms)[0] }
    })
    const [loss, acc1] = await Promise.all([made.loss.read(), made.acc1.read()])
    made.loss.dispose()
    made.acc1.dispose()
    rows.forEach(({ q }, k) => {
      sums[q].loss += loss[k]
      sums[q].acc1 += acc1[k]
    })
  }
  const mean = (name: 'loss' | 'acc1'): number[] => sums.map((sum) => sum[name] / count)
  const [lossByQuartile, acc1ByQuartile] = [mean('loss'), mean('acc1')]
  const all = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / parts
  if (!Number.isFinite(all(lossByQuartile)))
    throw new TweedieError(
      'non-finite',
      `The evaluation's loss is ${all(lossByQuartile)}: the weights are damaged, or training went astray.`,
    )
  return { images: count, loss: all(lossByQuartile), acc1: all(acc1ByQuartile), lossByQuartile, acc1ByQuartile }
}
