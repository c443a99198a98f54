import { checkAwaited, TweedieError } from '../errors.ts'
import type { Device, Tensor } from '../tensor/index.ts'
import { refuseUnknown } from '../refuse.ts'
import { AdamW, adamWOptions, type AdamWOptions } from './adamw.ts'
import { Log, type Row } from './log.ts'
import { Stepper, type Part } from './step.ts'

/** A batch with all that is drawn for it. What else a task needs (timesteps, labels) is its own. */
export interface Draw {
  /** How much each sample's loss counts: 1, or the importance weight of a timestep. */
  readonly weights: readonly number[]
  /** Which of the log's groups each sample belongs to (the quartile of its timestep); 0 where there are none. */
  readonly groups: readonly number[]
}

/**
 * What is trained: it draws a batch on the host and says, on the device, what each sample loses. The {@link Trainer}
 * does the rest. `B` is what {@link Task.load} loads, `D` what {@link Task.draw} makes of it.
 */
export interface Task<B = unknown, D extends Draw = Draw> {
  /** What is trained, by the names that a checkpoint gives them. */
  readonly parameters: ReadonlyMap<string, Tensor>
  /** Names of the groups in the log; one for a task without timesteps. */
  readonly groups: readonly string[]
  /**
   * Training images number `first` to `first + count - 1` of the run: a function of these numbers and the seed alone.
   */
  load(first: number, count: number, signal?: AbortSignal): Promise<B>
  /** What is drawn for them; it may depend on what {@link observe} was told of the steps before. */
  draw(images: B, first: number): D
  /**
   * What each sample loses, [N], differentiable by the parameters, and whatever else is to be logged, each [N];
   * `seen` is for {@link updated}. Enqueues only. Where the task is {@link replayable}, `draw` may be a function that
   * gives it.
   */
  losses(draw: D): {
    readonly loss: Tensor
    readonly terms: Readonly<Record<string, Tensor>>
    readonly seen?: Tensor
  }
  /**
   * {@link losses} runs the same ops for every batch of one size, and takes what a draw holds by `Live` functions
   * alone: it is recorded once and replayed (`Device.record`). A task with {@link updated} is called all the same.
   * Default false.
   */
  readonly replayable?: boolean
  /** Tensors that no gradient trains but that a run goes on with, such as a teacher's. */
  readonly kept?: ReadonlyMap<string, Tensor>
  /**
   * Told after the parameters' update of the step's micro-batches, each with what {@link losses} called `seen`: time to
   * bring what is {@link kept} up to date. The tensors are the trainer's. Enqueues only.
   */
  updated?(parts: readonly { readonly draw: D; readonly seen?: Tensor }[]): void
  /** Told of every batch's losses, in order: for schedule samplers that learn from them. */
  observe?(draw: D, losses: Float32Array): void
  /** What the task itself remembers, for a run that goes on: JSON. */
  save?(): unknown
  /** Goes on from what {@link save} gave. */
  restore?(saved: unknown): void
}

/**
 * Options of {@link Trainer}: the length of the run, its batches, the course of the learning rate, and
 * the optimiser's own.
 */
export interface TrainOptions extends AdamWOptions {
  /** Samples a step. */
  readonly batch: number
  /** Samples at a time, their gradients added up; the result is that of the whole batch. Default: the batch. */
  readonly microbatch?: number
  /** Steps of the whole run. */
  readonly steps: number
  /** The largest learning rate, between warm-up and annealing. */
  readonly lr: number
  /** Steps over which the learning rate rises from 0. Default 0. */
  readonly warmup?: number
  /**
   * Part of the run, at its end, over which the learning rate falls to 0: 1 is guided-diffusion's
   * `anneal_lr`. Default 0.
   */
  readonly anneal?: number
  /** Largest norm of the whole gradient; larger ones are scaled down to it. Default: none. */
  readonly clip?: number
  /** Steps between two rows of the log. Default 50. */
  readonly logEvery?: number
}

/** What a step of training found. */
export interface TrainStep {
  /** Steps made, this one included. */
  readonly step: number
  /** Mean over the batch. */
  readonly loss: number
  /** What else the task reports, likewise. */
  readonly terms: Readonly<Record<string, number>>
  readonly gradientNorm: number
  readonly lr: number
  /** Set where this step closed a row of the log. */
  readonly row?: Row
}

/** What a checkpoint holds beside tensors. */
export interface TrainCounters {
  readonly step: number
  readonly open: Row
  readonly rows: readonly Row[]
  readonly task: unknown
  readonly evaluations: readonly unknown[]
  /** Step of the last review; the first version had no such figure. */
  readonly reviewed?: number
  readonly history?: readonly RunChange[]
}

/** What became of a run on its way that was not planned when it began. */
export interface RunChange {
  /** The steps before it were made otherwise. */
  readonly step: number
  readonly what: string
}

const known = {
  ...adamWOptions,
  batch: true,
  microbatch: true,
  steps: true,
  lr: true,
  warmup: true,
  anneal: true,
  clip: true,
  logEvery: true,
} as const

/**
 * The training loop that the diffusion model, the minority classifier and the feature net share (guided-diffusion
 * `TrainLoop`). What is trained is a {@link Task}; the loop differentiates, steps the optimiser and keeps the books.
 *
 * Everything random is a function of the seed and of an image's number in the run, so the loop's whole state is its
 * weights, averages, moments, counters and the running figures of its log: {@link Trainer.state} is all of it, and a
 * run that goes on from there computes the same bits as one that was never interrupted. A step is applied only after
 * its loss and gradient norm were seen to be finite.
 *
 * ```ts
 * const trainer = new Trainer(device, task, { batch: 64, steps: 10_000, lr: 1e-4, warmup: 500, clip: 1 })
 * for await (const { step, loss } of trainer.run()) console.log(step, loss)
 * ```
 */
export class Trainer<B = unknown, D extends Draw = Draw> {
  /** What is trained. */
  readonly task: Task<B, D>
  /** Holds the moments and averages; its parameters are the task's. */
  readonly optimizer: AdamW
  /** As given, with every default filled in; the optimiser has its own. */
  readonly options: Required<Omit<TrainOptions, keyof AdamWOptions | 'clip'>> & Pick<TrainOptions, 'clip'>
  /** What the caller found out on the way and wants kept with the run, as JSON. */
  evaluations: unknown[] = []
  /** The step after which the caller last looked at the run. */
  reviewed = 0
  /** Changes of the data, and of the length where the learning rate depends on it. */
  history: RunChange[] = []
  readonly #device: Device
  readonly #stepper: Stepper<B, D>
  readonly #log: Log
  /** The next step's images, loaded while the device computes this one's. */
  #ahead: { readonly step: number; readonly parts: Promise<B[]> } | null = null

  /** @throws TweedieError 'option' for an option that is none of these, or out of range */
  constructor(device: Device, task: Task<B, D>, options: TrainOptions) {
    checkAwaited('Trainer', { device, task })
    refuseUnknown('Trainer', options, known)
    const { batch, microbatch = batch, steps, lr, warmup = 0, anneal = 0, clip, logEvery = 50, ...adamw } = options
    const whole = (name: string, value: number, least: number): void => {
      if (!Number.isInteger(value) || value < least)
        throw new TweedieError('option', `Training: ${name} is a whole number of ${least} or more, found ${value}.`)
    }
    whole('batch', batch, 1)
    whole('microbatch', microbatch, 1)
    whole('steps', steps, 1)
    whole('warmup', warmup, 0)
    whole('logEvery', logEvery, 1)
    if (!(lr > 0)) throw new TweedieError('option', `Training: the learning rate is a positive number, found ${lr}.`)
    if (!(anneal >= 0 && anneal <= 1))
      throw new TweedieError('option', `Training: anneal is a part of the run, from 0 to 1, found ${anneal}.`)
    if (clip !== undefined && !(clip > 0))
      throw new TweedieError('option', `Training: clip is a positive norm, found ${clip}.`)
    this.task = task
    this.options = {
      batch,
      microbatch: Math.min(microbatch, batch),
      steps,
      lr,
      warmup,
      anneal,
      logEvery,
      ...(clip === undefined ? {} : { clip }),
    }
    this.optimizer = new AdamW(device, task.parameters, adamw)
    this.#device = device
    this.#stepper = new Stepper(device, task, this.optimizer, clip)
    this.#log = new Log(task.groups)
  }

  /** Steps made so far. */
  get step(): number {
    return this.optimizer.steps
  }

  /** All steps are made. */
  get done(): boolean {
    return this.step >= this.options.steps
  }

  /** The log so far: a row every `logEvery` steps. */
  get rows(): readonly Row[] {
    return this.#log.rows
  }

  /** {@link rows}; before the first, the means so far, so that a run shorter than `logEvery` has its loss too. */
  get rowsSoFar(): readonly Row[] {
    return this.#log.rowsSoFar(this.step, this.step * this.options.batch)
  }

  /** Learning rate of step `step`, from 0 on. */
  lrAt(step: number): number {
    const { lr, warmup, anneal, steps } = this.options
    const rise = warmup === 0 ? 1 : Math.min(1, (step + 1) / warmup)
    const fall = anneal === 0 ? 1 : Math.min(1, (steps - step) / (anneal * steps))
    return lr * rise * fall
  }

  /**
   * Makes one step. Resolves when the loss is known and the update is on its way.
   *
   * @throws TweedieError 'non-finite' naming the step and the first tensor that is not finite; weights and moments are
   *   then those before the step
   */
  async next(signal?: AbortSignal): Promise<TrainStep> {
    const {
      step,
      task,
      options: { batch, microbatch, logEvery },
    } = this
    signal?.throwIfAborted()
    const parts = await (this.#ahead?.step === step ? this.#ahead.parts : this.#load(step, signal))
    this.#ahead = null
    signal?.throwIfAborted()
    const draws = parts.map((images, i) => task.draw(images, step * batch + i * microbatch))
    try {
      const reports: Promise<Float32Array>[] = []
      const made = this.#stepper.enqueue(draws, batch, ({ report }) => {
        const read = report.read()
        // Nobody awaits it where the next micro-batch fails.
        read.catch(() => {})
        reports.push(read)
      })
      // While the device computes; a failure shows when the batch is wanted.
      if (step + 1 < this.options.steps) {
        this.#ahead = { step: step + 1, parts: this.#load(step + 1, signal) }
        this.#ahead.parts.catch(() => {})
      }
      const told = await Promise.all(reports)
      const values = told.map((report, i) => valuesIn(report, made[i], draws[i].weights.length))
      const gradientNorm = Math.sqrt(told[told.length - 1].at(-1) as number)
      const loss =
        values.reduce(
          (total, { loss }, i) => total + loss.reduce((a, value, k) => a + value * draws[i].weights[k], 0),
          0,
        ) / batch
      if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) throw await this.#nonFinite(step, values, made[0])
      const lr = this.lrAt(step)
      this.#stepper.update(made, lr)
      task.updated?.(made.map(({ seen }, i) => ({ draw: draws[i], ...(seen && { seen }) })))
      values.forEach(({ loss: losses }, i) => task.observe?.(draws[i], losses))
      this.#log.add(
        values.map(({ loss: losses, terms }, i) => ({
          values: { loss: losses, ...terms },
          groups: draws[i].groups,
        })),
        { gradientNorm, lr },
      )
      const row = this.step % logEvery === 0 ? this.#log.close(this.step, this.step * batch) : undefined
      const terms = Object.fromEntries(
        Object.keys(values[0].terms).map((name) => [
          name,
          values.reduce((sum, part) => part.terms[name].reduce((a, b) => a + b, sum), 0) / batch,
        ]),
      )
      return { step: this.step, loss, terms, gradientNorm, lr, ...(row ? { row } : {}) }
    } catch (error) {
      // It may have failed for what was recorded.
      this.release()
      throw error
    } finally {
      this.#stepper.end()
    }
  }

  /**
   * Makes the steps that are left, one after another.
   *
   * ```ts
   * for await (const { step } of trainer.run(signal)) {
   *   if (step % 500 === 0) await writeFileAtomic('run.safetensors', await encodeState(trainer, {}))
   * }
   * ```
   */
  async *run(signal?: AbortSignal): AsyncGenerator<TrainStep, void, void> {
    while (!this.done) yield await this.next(signal)
  }

  #load(step: number, signal?: AbortSignal): Promise<B[]> {
    const { batch, microbatch } = this.options
    const parts: Promise<B>[] = []
    for (let begin = 0; begin < batch; begin += microbatch) {
      parts.push(this.task.load(step * batch + begin, Math.min(microbatch, batch - begin), signal))
    }
    return Promise.all(parts)
  }

  async #nonFinite(step: number, values: readonly Values[], { gradients }: Part): Promise<TweedieError> {
    const bad = (array: ArrayLike<number>): boolean =>
      Array.prototype.some.call(array, (value: number) => !Number.isFinite(value))
    const found = async (): Promise<string> => {
      for (const [key, weight] of this.task.parameters) if (bad(await weight.read())) return `the weight ${key}`
      for (const { terms, loss } of values) {
        for (const [name, term] of Object.entries(terms)) if (bad(term)) return `the loss's term ${name}`
        if (bad(loss)) return 'the loss'
      }
      for (const [k, { names, offsets }] of this.optimizer.pieces.entries()) {
        const read = await gradients[k].read()
        const at = names.findIndex((_, i) => bad(read.subarray(offsets[i], offsets[i + 1])))
        if (at >= 0) return `the gradient of ${names[at]}`
      }
      return 'the norm of the gradient, which overflows'
    }
    return new TweedieError(
      'non-finite',
      `Training stopped at step ${step + 1}: ${await found()} is not finite. The step was not applied; the ` +
        `weights are those of step ${step}. A lower learning rate, warm-up or clipping may help.`,
    )
  }

  /** Tensors and counters from which {@link restore} goes on, bit for bit. */
  state(): { tensors: Map<string, Tensor>; counters: TrainCounters } {
    return {
      tensors: this.#tensors(),
      counters: {
        step: this.step,
        open: this.#log.open,
        rows: this.#log.rows,
        task: this.task.save?.() ?? null,
        evaluations: this.evaluations,
        reviewed: this.reviewed,
        history: this.history,
      },
    }
  }

  #tensors(): Map<string, Tensor> {
    const {
      optimizer: { m, v, emas },
      task: { parameters, kept = new Map<string, Tensor>() },
    } = this
    const named = (prefix: string, tensors: ReadonlyMap<string, Tensor>): [string, Tensor][] =>
      [...tensors].map(([key, x]) => [`${prefix}.${key}`, x])
    return new Map([
      ...named('model', parameters),
      ...emas.flatMap((ema, k) => named(`ema${this.optimizer.options.emaRates[k]}`, ema)),
      ...named('m', m),
      ...named('v', v),
      ...named('kept', kept),
    ])
  }

  /** Goes on where a run's {@link state} was taken. `read` gives a tensor's values by its name in that state. */
  async restore(
    { step, open, rows, task, evaluations, reviewed = step, history = [] }: TrainCounters,
    read: (name: string) => Promise<Float32Array>,
  ): Promise<void> {
    for (const [name, tensor] of this.#tensors()) tensor.write(await read(name))
    this.optimizer.steps = step
    this.#log.restore(open, rows)
    this.task.restore?.(task)
    this.evaluations = [...evaluations]
    this.reviewed = reviewed
    this.history = [...history]
    this.#ahead = null
    await this.#device.flush()
  }

  /**
   * Frees what a recorded step holds between steps, which is what it works with: for other large work on the device, as
   * an evaluation. The next step is recorded anew.
   */
  release(): void {
    this.#stepper.release()
  }

  /** Frees optimiser state, not the parameters. */
  dispose(): void {
    this.release()
    this.optimizer.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** A trainer of whatever task. */
export type AnyTrainer = Omit<Trainer, 'task'> & { readonly task: Pick<Task, 'groups'> }

interface Values {
  readonly loss: Float32Array
  readonly terms: Readonly<Record<string, Float32Array>>
}

/** Losses and terms of the `n` samples that a micro-batch reports. */
const valuesIn = (report: Float32Array, { names }: Part, n: number): Values => ({
  loss: report.slice(0, n),
  terms: Object.fromEntries(names.map((name, i) => [name, report.slice((i + 1) * n, (i + 2) * n)])),
})
