/**
 * What a step of training enqueues: of each micro-batch its losses and gradients, and then the update. Where the task's
 * losses may be recorded (`Task.replayable`), each of these is recorded once and replayed: the draw, the learning rate
 * and the optimiser's count get in at every replay, so that the bits are those of a step that is called.
 */
import { handedOn, isReplayable } from '../diffusion/process/replayable.ts'
import {
  add,
  concat,
  expression,
  f,
  grad,
  liveOf,
  map,
  now,
  reshape,
  square,
  sum,
  type Device,
  type Live,
  type Program,
  type Tensor,
} from '../tensor/index.ts'
import type { AdamW } from './adamw.ts'
import type { Draw, Task } from './trainer.ts'

/** What is enqueued for a micro-batch. */
export interface Part {
  /** One for each of the optimiser's pieces: the sum over the micro-batches so far. */
  readonly gradients: readonly Tensor[]
  /** The losses [N], then the terms by name [N], and with the last micro-batch the gradient's squared norm. */
  readonly report: Tensor
  readonly names: readonly string[]
  /** The squared norm alone, with the last. */
  readonly squared?: Tensor
  /** The task's. */
  readonly seen?: Tensor
}

// The factor min(1, most / (norm + 1e-6)) of PyTorch's clip_grad_norm_, from the squared norm.
const clipFactor = expression(1, 1, ([squared], [most]) => f.min(1, f.div(most, f.add(f.sqrt(squared), 1e-6))))

/** Enqueues the steps of one trainer. */
export class Stepper<B, D extends Draw> {
  readonly #device: Device
  readonly #task: Task<B, D>
  readonly #optimizer: AdamW
  readonly #clip: number | undefined
  readonly #replays: boolean
  /** By which micro-batch of the step it is, and the update. */
  readonly #programs = new Map<string, Program<unknown>>()
  /** Tensors of a step that is called. */
  readonly #own: Tensor[] = []
  #sizes = ''
  #draw!: D
  #lr = 0

  constructor(device: Device, task: Task<B, D>, optimizer: AdamW, clip: number | undefined) {
    this.#device = device
    this.#task = task
    this.#optimizer = optimizer
    this.#clip = clip
    // What `updated` is told of a micro-batch would be overwritten by the next.
    this.#replays = device.replays && isReplayable(task) && !task.updated
  }

  /**
   * Enqueues the losses of all micro-batches, whose gradients add up to that of the mean loss of `batch` samples.
   * `told` is called after each, before what it reports may be overwritten.
   */
  enqueue(draws: readonly D[], batch: number, told: (part: Part) => void): Part[] {
    const sizes = draws.map(({ weights }) => weights.length)
    // Another optimiser of the same parameters may have moved them.
    if (this.#optimizer.settle() || this.#sizes !== sizes.join()) this.release()
    this.#sizes = sizes.join()
    const parts: Part[] = []
    for (const [i, draw] of draws.entries()) {
      this.#draw = draw
      const last = i === draws.length - 1
      const kind = `${i === 0 ? 'first ' : ''}${last ? 'last ' : ''}${sizes[i]}`
      const part = this.#run(kind, (live) => this.#part(live, sizes[i] / batch, parts[0]?.gradients, last))
      parts.push(part)
      told(part)
    }
    return parts
  }

  /** Enqueues the update by the gradients of `parts`, which counts as the optimiser's next. */
  update(parts: readonly Part[], lr: number): void {
    const { gradients } = parts[0]
    const squared = parts.at(-1)?.squared as Tensor
    this.#lr = lr
    this.#optimizer.steps++
    this.#run('update', () => {
      const factor = this.#clip === undefined ? undefined : reshape(map(clipFactor, [squared], [this.#clip]), [1])
      this.#optimizer.update(gradients, this.#replays ? () => this.#lr : lr, factor)
    })
  }

  /** Losses and gradients of a micro-batch, which are added to `totals` where those of others are there. */
  #part(live: Live<D>, share: number, totals: readonly Tensor[] | undefined, last: boolean): Part {
    const device = this.#device
    const n = now(live).weights.length
    const cotangent = device.tensor(
      liveOf(live, ({ weights }) => weights.map((weight) => (weight * share) / n)),
      [n],
    )
    const terms: [string, Tensor][] = []
    let seen: Tensor | undefined
    const { value, gradients } = grad(
      () => {
        const made = this.#task.losses(handedOn(live))
        for (const [name, term] of Object.entries(made.terms)) terms.push([name, device.keep(term)])
        if (made.seen) seen = device.keep(made.seen)
        return made.loss
      },
      [...this.#task.parameters.values()],
      cotangent,
    )
    for (const tensor of [...terms.map(([, term]) => term), ...(seen ? [seen] : [])]) device.track(tensor)
    // At once, so that no more than three sets of gradients are ever there, however many micro-batches.
    const own = this.#optimizer.take(gradients)
    totals?.forEach((total, k) => {
      device.scope(() => total.assign(add(total, own[k])))
      own[k].dispose()
    })
    const sums = totals ?? own
    const squared = last
      ? device.scope(() =>
          sum(
            concat(
              sums.map((g) => device.scope(() => reshape(sum(square(g)), [1]))),
              0,
            ),
          ),
        )
      : undefined
    const lists = [value, ...terms.map(([, term]) => term)].map((list) => reshape(list, [n]))
    return {
      gradients: sums,
      report: concat([...lists, ...(squared ? [reshape(squared, [1])] : [])], 0),
      names: terms.map(([name]) => name),
      ...(squared && { squared }),
      ...(seen && { seen }),
    }
  }

  /** What `enqueue` makes: called, or by the program of this kind. */
  #run<T>(kind: string, enqueue: (live: Live<D>) => T): T {
    if (!this.#replays) {
      const made = this.#device.scope(() => enqueue(this.#draw))
      const { gradients = [], report, squared, seen } = (made ?? {}) as Partial<Part>
      for (const tensor of [...gradients, report, squared, seen]) if (tensor) this.#own.push(this.#device.keep(tensor))
      return made
    }
    const known = this.#programs.get(kind) as Program<T> | undefined
    // Nothing of it depends on a number of the step, but on what the functions that it was given give.
    if (known) return known.replay(0)
    const program = this.#device.record(() => enqueue(() => this.#draw))
    this.#programs.set(kind, program)
    return program.result
  }

  /** Frees what was made for a step that was called. */
  end(): void {
    for (const tensor of this.#own.splice(0)) tensor.dispose()
  }

  /** Frees the programs: the next step is recorded. */
  release(): void {
    for (const program of this.#programs.values()) program.dispose()
    this.#programs.clear()
  }
}
