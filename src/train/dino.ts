import { FeatureNet, featureNetStateDict, type FeatureNetConfig } from '../nn/feature-net.ts'
import { ViT } from '../nn/vit.ts'
import {
  add,
  concat,
  div,
  expression,
  f,
  full,
  gelu,
  linear,
  logSoftmax,
  map,
  matmul,
  mean,
  mul,
  neg,
  noGrad,
  reshape,
  slice,
  softmax,
  square,
  stopGradient,
  sub,
  sum,
  type Device,
  type Shape,
  type Tensor,
} from '../tensor/index.ts'
import type { TrainImages } from './diffusion.ts'
import { unit, untrained } from './feature-net.ts'
import type { Draw, Task } from './trainer.ts'
import { viewDefaults, viewsOf, type ViewOptions } from './views.ts'

/** What {@link DinoTask} trains: a network that makes one vector of a picture, of more than one size. */
export interface DinoNetwork {
  /** By state-dict name; the task trains them and frees them. */
  readonly parameters: ReadonlyMap<string, Tensor>
  /** Of pictures. */
  readonly inChannels: 1 | 3
  /** Length of a feature vector. */
  readonly dimension: number
  /** Features [N, dimension] of pictures [N, C, S, S] in [-1, 1] by parameters of these names, the teacher's too. */
  features(parameters: ReadonlyMap<string, Tensor>, x: Tensor): Tensor
}

// x over its deviation, with 1e-4 for the deviation of a channel that is the same in all pictures.
const standard = expression(2, 0, ([x, variance]) => f.div(x, f.sqrt(f.add(variance, 1e-8))))

/**
 * An untrained {@link FeatureNet} from the seed. Heads see its features less their mean over the pass, and with a mean
 * square of 1, each channel by itself: the net has no norm of its own, and without one its features are so nearly the
 * same for all pictures that every score is as likely as every other and stays so.
 */
export function dinoFeatureNet(device: Device, config: FeatureNetConfig, seed: number): DinoNetwork {
  const parameters = untrained(device, featureNetStateDict(config), seed)
  return {
    parameters,
    inChannels: config.inChannels,
    dimension: new FeatureNet(config, parameters).dimension,
    features(own, x) {
      const features = new FeatureNet(config, own).features(x)
      const centred = sub(features, mean(features, { axes: [0], keepDims: true }))
      return map(standard, [centred, mean(square(centred), { axes: [0], keepDims: true })])
    },
  }
}

/** Mean and deviation of ImageNet's channels, of values in [0, 1], by which DINO's pictures are normalised. */
const [imageNetMean, imageNetDeviation] = [
  [0.485, 0.456, 0.406],
  [0.229, 0.224, 0.225],
]

/** A vision transformer to go on with, which is the network's from now on. It takes pictures as DINO's does. */
export function dinoViT({ config, parameters, dimension }: ViT): DinoNetwork {
  return {
    parameters,
    inChannels: 3,
    dimension,
    features(own, x) {
      // ((x + 1) / 2 - mean) / deviation
      const scale = x.device.tensor(
        imageNetDeviation.map((deviation) => 0.5 / deviation),
        [1, 3, 1, 1],
      )
      const offset = x.device.tensor(
        imageNetMean.map((mean, c) => (0.5 - mean) / imageNetDeviation[c]),
        [1, 3, 1, 1],
      )
      return new ViT(config, own).features(add(mul(x, scale), offset))
    },
  }
}

/** Options of {@link DinoTask}; the defaults are those of Caron et al. where nothing else is said. */
export interface DinoTaskOptions extends Partial<Pick<ViewOptions, 'augment' | 'jitter' | 'blur'>> {
  readonly network: DinoNetwork
  /** Side of the pictures, and of the two global views. */
  readonly size: number
  /** Training images number `first` to `first + count - 1` of the run. */
  readonly load: (first: number, count: number, signal?: AbortSignal) => Promise<TrainImages>
  /** Images of the whole run, over which the teacher's momentum rises to 1. */
  readonly images: number
  /** Local views of a picture. Default 4 (in the paper 8, of 96 pixels beside 224). */
  readonly localViews?: number
  /** Their side. Default half of the pictures'. */
  readonly localSize?: number
  /** Smallest and largest part of a picture's area that a global view shows. Default 0.4 and 1. */
  readonly globalArea?: readonly [number, number]
  /** The same of a local view. Default 0.05 and 0.4. */
  readonly localArea?: readonly [number, number]
  /** Scores that student and teacher compare. Default 1024 (in the paper 65,536, for 1.3 million pictures). */
  readonly outputs?: number
  /** Width of the head's two hidden layers. Default 256 (in the paper 2,048). */
  readonly hidden?: number
  /** Length of the unit vector that the scores are made from. Default 64 (in the paper 256). */
  readonly bottleneck?: number
  /** The student's. Default 0.1. */
  readonly temperature?: number
  /** The teacher's, lower: its answers are sharper. Default 0.04. */
  readonly teacherTemperature?: number
  /** Momentum of the teacher's weights at the start of the run. Default 0.996. */
  readonly momentum?: number
  /** Momentum of the centre. Default 0.9. */
  readonly centreMomentum?: number
  /** Part of the run, at its start, in which the last layer stays as it is. Default 0.01 (one epoch of a hundred). */
  readonly frozen?: number
  readonly seed: number
}

/** A batch of {@link DinoTask}: views number 0 and 1 are global ones [N, C, S, S], all others local ones. */
export interface DinoDraw extends Draw {
  /** Number of the first image in the run. */
  readonly first: number
  readonly views: readonly Float32Array[]
}

const blend = expression(2, 2, ([old, now], [keep, rest]) => f.add(f.mul(keep, old), f.mul(rest, now)))
const centred = expression(2, 1, ([x, centre], [temperature]) => f.div(f.sub(x, centre), temperature))

/**
 * The {@link Task} of self-distillation without labels, DINO (Caron et al. 2021, "Emerging Properties in
 * Self-Supervised Vision Transformers", Algorithm 1): a student sees every view of a picture, a teacher the two global
 * ones, and the student is to give to each view the answer that the teacher gives to another.
 *
 *     q_t = softmax((teacher(view t) - centre) / teacherTemperature),   p_v = softmax(student(view v) / temperature)
 *     loss = mean over t in {0, 1} and v != t of  -sum_k q_tk log p_vk
 *     teacher = m teacher + (1 - m) student,   m = 1 - (1 - momentum) (1 + cos(pi step / steps)) / 2
 *     centre = centreMomentum centre + (1 - centreMomentum) mean of the batch's teacher(view t)
 *
 * Sharpening alone would let one score win for all pictures, and centring alone would make all scores equal; the term
 * `entropy` of the log, that of q, shows either: it goes to 0, or to log(outputs).
 *
 * The head: three linear layers with GELU between them, the unit vector of the result, and its products with `outputs`
 * unit vectors; the names are those of facebookresearch/dino after `heads.`. The teacher is the better feature space of
 * the two: {@link DinoTask.teacher}.
 */
export class DinoTask implements Task<DinoDraw, DinoDraw> {
  /** Those of the network, then `heads.*`: the student's. */
  readonly parameters: ReadonlyMap<string, Tensor>
  /** `teacher.*`, under the parameters' names, and `centre` [1, outputs]. */
  readonly kept: ReadonlyMap<string, Tensor>
  readonly groups = ['all'] as const
  /** The teacher's weights, by the parameters' names. */
  readonly teacher: ReadonlyMap<string, Tensor>
  readonly #device: Device
  readonly #centre: Tensor
  readonly #options: Required<DinoTaskOptions>

  /**
   * The head is random from the seed, the teacher a copy of the student. The network's parameters are the task's now.
   */
  constructor(device: Device, options: DinoTaskOptions) {
    const { augment, jitter, blur } = viewDefaults
    this.#device = device
    this.#options = {
      localViews: 4,
      localSize: options.size >> 1,
      globalArea: [0.4, 1],
      localArea: [0.05, 0.4],
      outputs: 1024,
      hidden: 256,
      bottleneck: 64,
      temperature: 0.1,
      teacherTemperature: 0.04,
      momentum: 0.996,
      centreMomentum: 0.9,
      frozen: 0.01,
      ...{ augment, jitter, blur },
      ...options,
    }
    const { network, outputs, hidden, bottleneck, seed } = this.#options
    const head: [string, Shape][] = [
      ['heads.mlp.0.weight', [hidden, network.dimension]],
      ['heads.mlp.0.bias', [hidden]],
      ['heads.mlp.2.weight', [hidden, hidden]],
      ['heads.mlp.2.bias', [hidden]],
      ['heads.mlp.4.weight', [bottleneck, hidden]],
      ['heads.mlp.4.bias', [bottleneck]],
      ['heads.last_layer.weight_v', [outputs, bottleneck]],
    ]
    // Another seed than the network's own, whose first draws would be the head's.
    this.parameters = new Map([...network.parameters, ...untrained(device, head, seed + 1)])
    this.teacher = new Map([...this.parameters].map(([key, x]) => [key, device.keep(device.scope(() => mul(x, 1)))]))
    this.#centre = device.keep(full(device, [1, outputs], 0))
    this.kept = new Map([
      ...[...this.teacher].map(([key, x]): [string, Tensor] => [`teacher.${key}`, x]),
      ['centre', this.#centre],
    ])
  }

  /** Makes the teacher a copy of the student, whose parameters were written. */
  copyTeacher(): void {
    for (const [key, tensor] of this.teacher) this.#device.scope(() => tensor.assign(mul(this.#parameter(key), 1)))
  }

  async load(first: number, count: number, signal?: AbortSignal): Promise<DinoDraw> {
    const { network, size, localViews, localSize, globalArea, localArea, load, seed } = this.#options
    const { augment, jitter, blur } = this.#options
    const { images } = await load(first, count, signal)
    const views = Array.from({ length: 2 + localViews }, (_, view) => {
      const [area, areaMost] = view < 2 ? globalArea : localArea
      const how = { augment, jitter, blur, area, areaMost }
      return viewsOf(images, network.inChannels, size, first, view, seed, how, view < 2 ? size : localSize)
    })
    return {
      first,
      views,
      weights: new Array<number>(count).fill(1),
      groups: new Array<number>(count).fill(0),
    }
  }

  draw(loaded: DinoDraw): DinoDraw {
    return loaded
  }

  losses({ first, views, weights: { length: n } }: DinoDraw): {
    loss: Tensor
    terms: Record<string, Tensor>
    seen: Tensor
  } {
    const device = this.#device
    const { network, size, localSize, outputs, temperature, teacherTemperature, images, frozen } = this.#options
    const batch = (of: readonly Float32Array[], side: number): Tensor =>
      concat(
        of.map((view) => device.tensor(view, [n, network.inChannels, side, side])),
        0,
      )
    const globals = batch(views.slice(0, 2), size)
    const locals = views.length > 2 ? [batch(views.slice(2), localSize)] : []
    const vectors = [globals, ...locals].map((x) => network.features(this.parameters, x))
    const scores = this.#scores(this.parameters, concat(vectors, 0), first < frozen * images)
    const logP = reshape(logSoftmax(div(scores, temperature)), [views.length, n, outputs])
    const { q, entropy, seen } = noGrad(device, () => {
      const answers = this.#scores(this.teacher, network.features(this.teacher, globals))
      const sharp = map(centred, [answers, this.#centre], [teacherTemperature])
      const q = softmax(sharp)
      const each = neg(sum(mul(q, logSoftmax(sharp)), { axes: [1] }))
      return {
        q: reshape(q, [2, n, outputs]),
        entropy: div(sum(reshape(each, [2, n]), { axes: [0] }), 2),
        seen: sum(answers, { axes: [0], keepDims: true }),
      }
    })
    // Of the views but the teacher's own: all of them, less that one.
    const others = sub(sum(logP, { axes: [0], keepDims: true }), slice(logP, 0, 0, 2))
    const pairs = 2 * (views.length - 1)
    return { loss: div(neg(sum(mul(q, others), { axes: [0, 2] })), pairs), terms: { entropy }, seen }
  }

  updated(parts: readonly { readonly draw: DinoDraw; readonly seen?: Tensor }[]): void {
    const { momentum, centreMomentum, images } = this.#options
    const rest = ((1 - momentum) * (1 + Math.cos((Math.PI * parts[0].draw.first) / images))) / 2
    for (const [key, tensor] of this.teacher)
      this.#device.scope(() => tensor.assign(map(blend, [tensor, this.#parameter(key)], [1 - rest, rest])))
    const answers = 2 * parts.reduce((count, { draw }) => count + draw.weights.length, 0)
    this.#device.scope(() => {
      const total = parts.flatMap(({ seen }) => seen ?? []).reduce((a, b) => add(a, b))
      this.#centre.assign(map(blend, [this.#centre, total], [centreMomentum, (1 - centreMomentum) / answers]))
    })
  }

  /** The head's scores [N, outputs] of features [N, dimension]; with `frozen` the last layer takes no gradient. */
  #scores(parameters: ReadonlyMap<string, Tensor>, features: Tensor, frozen = false): Tensor {
    const of = (key: string): Tensor => parameters.get(`heads.${key}`)!
    const layer = (k: number, x: Tensor): Tensor => linear(x, of(`mlp.${k}.weight`), of(`mlp.${k}.bias`))
    const z = unitRows(layer(4, gelu(layer(2, gelu(layer(0, features))))))
    const last = unitRows(of('last_layer.weight_v'))
    return matmul(z, frozen ? stopGradient(last) : last, { transposeB: true })
  }

  #parameter(key: string): Tensor {
    return this.parameters.get(key)!
  }

  /** Frees the student, the teacher and the centre. */
  dispose(): void {
    for (const tensor of [...this.parameters.values(), ...this.kept.values()]) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

const unitRows = (x: Tensor): Tensor => map(unit, [x, sum(mul(x, x), { axes: [1], keepDims: true })])
