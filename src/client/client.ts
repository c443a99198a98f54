import { proxy } from 'comlink'
import { asksForAwait, TweedieError } from '../errors.ts'
import type { BackendStats } from '../tensor/index.ts'
import type { Where } from '../tweedie/index.ts'
import {
  errorOf,
  type Answer,
  type ClientInfo,
  type ClientPicture,
  type ClientScores,
  type ClientStep,
  type OnProgress,
  type Pipeline,
  type SentLoadOptions,
  type SentSampleOptions,
  type SentScoreOptions,
} from './messages.ts'
import { checkLoad, checkSample, checkScore } from './options.ts'
import { PipelineWorker } from './pipeline-worker.ts'
import { placed, placedWhere } from './places.ts'

/** What `TweedieClient.load` takes: the options of `Tweedie.load` that can be sent to a worker. */
export interface TweedieClientOptions extends SentLoadOptions {
  /**
   * Starts the worker. Default: one of the package's own script, which bundlers find, and pages without a bundler
   * beside this module.
   */
  readonly createWorker?: () => Worker
  /** Called while weights are read: bytes of all files so far, and in all. */
  readonly onProgress?: OnProgress
  /** Ends loading: it rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

/** What `TweedieClient.sample` takes: the options of `Tweedie.sample`, without functions. */
export interface ClientSampleOptions extends SentSampleOptions {
  /** Ends sampling: the loop throws the signal's reason, and nothing stays on the device. */
  readonly signal?: AbortSignal
}

/** What `TweedieClient.score` takes: the options of `Tweedie.score`. */
export interface ClientScoreOptions extends SentScoreOptions {
  /** Called after every batch: images so far, and in all. */
  readonly onProgress?: OnProgress
  /** Ends scoring: it rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

/**
 * A `Tweedie` in a worker of its own: the page never computes, and answers while pictures are drawn.
 *
 * ```ts
 * const client = await TweedieClient.load('bccd32', { weights: '/weights/' })
 * for await (const { images } of client.sample({ number: 4, steps: 50, preview: true }))
 *   images.forEach((image, k) => image && contexts[k].transferFromImageBitmap(image))
 * client.dispose()
 * ```
 */
export class TweedieClient {
  readonly #worker: PipelineWorker
  #info: ClientInfo | undefined
  #jobs = 0

  private constructor(worker: PipelineWorker) {
    this.#worker = worker
  }

  /**
   * Starts a worker and loads a model in it: a URL, a `Blob`, the bytes of a file, or `'bccd32'`, as `Tweedie.load`
   * does. URLs are relative to the page. A `Blob` is sent without being read; bytes are copied.
   *
   * @throws TweedieError 'worker-unavailable' where the worker does not start, or says nothing for 30 seconds; what
   *   `Tweedie.load` throws
   */
  static load(model: 'bccd32' | Where, options: TweedieClientOptions = {}): Promise<TweedieClient> {
    return asksForAwait(
      loadClient(model, options, (worker) => new TweedieClient(worker)),
      'TweedieClient',
      TweedieClient,
    )
  }

  /** What was loaded, and what computes. */
  get info(): ClientInfo {
    return this.#info!
  }

  /**
   * Replaces the model, in the same worker. The one before is gone even where this fails, or is aborted.
   *
   * @throws what {@link TweedieClient.load} throws
   */
  async load(model: 'bccd32' | Where, options: Omit<TweedieClientOptions, 'createWorker'> = {}): Promise<void> {
    checkLoad('TweedieClient.load', options)
    const { onProgress, signal, ...rest } = options
    const sent = placed(rest)
    const where = model === 'bccd32' ? model : placedWhere(model)
    this.#info = await this.#run(signal, onProgress, (pipeline, job, told) => pipeline.load(job, where, sent, told))
  }

  /**
   * Draws, as `Tweedie.sample` does. The worker is never more than a step ahead of the loop. To leave the loop, or
   * abort it, ends sampling within a step and frees all it took.
   *
   * @throws what `Tweedie.sample` throws; TweedieError 'device-lost' where the worker ends, 'disposed' after `dispose`
   */
  async *sample(options: ClientSampleOptions = {}): AsyncGenerator<ClientStep, void, void> {
    checkSample(options)
    const { signal, ...sent } = options
    signal?.throwIfAborted()
    const job = ++this.#jobs
    const stop = (): Promise<void> => this.#worker.call((pipeline) => pipeline.stop(job)).catch(() => {})
    const next = (): Promise<Answer<ClientStep | null>> => {
      const answer = this.#worker.call((pipeline) => pipeline.next(job))
      // Who leaves the loop does not look at it any more.
      answer.catch(() => {})
      return answer
    }
    signal?.addEventListener('abort', stop)
    try {
      await this.#worker.call((pipeline) => pipeline.sample(job, sent))
      // An abort before that found no job.
      signal?.throwIfAborted()
      for (let coming = next(); ; ) {
        const step = valueOf(await coming, signal)
        if (!step) return
        coming = next()
        yield step
      }
    } finally {
      signal?.removeEventListener('abort', stop)
      await stop()
    }
  }

  /**
   * Minority scores, one for each picture, as `Tweedie.score` gives them; higher is rarer. An `ImageBitmap` is copied.
   *
   * @throws what `Tweedie.score` throws; TweedieError 'format' for a file that is no picture
   */
  async score(
    pictures: readonly ClientPicture[] | Float32Array,
    options: ClientScoreOptions = {},
  ): Promise<ClientScores> {
    checkScore(pictures, options)
    const { onProgress, signal, ...sent } = options
    return this.#run(signal, onProgress, (pipeline, job, told) => pipeline.score(job, pictures, sent, told))
  }

  /** The worker's counters of kernels, memory and work, as `Device.stats`: for tests and benches. */
  async stats(): Promise<Readonly<BackendStats>> {
    return valueOf(await this.#worker.call((pipeline) => pipeline.stats()), undefined)
  }

  /** Ends the worker, and with it all that runs, which rejects with TweedieError 'disposed'. */
  dispose(): void {
    this.#worker.end(new TweedieError('disposed', 'TweedieClient: the client was disposed.'))
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Does one job, which the signal ends. */
  async #run<T>(
    signal: AbortSignal | undefined,
    onProgress: OnProgress | undefined,
    ask: (pipeline: Pipeline, job: number, told: OnProgress | null) => Promise<Answer<T>>,
  ): Promise<T> {
    signal?.throwIfAborted()
    const job = ++this.#jobs
    const stop = (): void => void this.#worker.call((pipeline) => pipeline.stop(job)).catch(() => {})
    let thrown: { readonly error: unknown } | undefined
    const told = (done: number, total: number): void => {
      try {
        if (!thrown) onProgress?.(done, total)
      } catch (error) {
        thrown = { error }
        stop()
      }
    }
    signal?.addEventListener('abort', stop)
    try {
      const answer = await this.#worker.call((pipeline) => ask(pipeline, job, onProgress ? proxy(told) : null))
      if (thrown) throw thrown.error
      return valueOf(answer, signal)
    } finally {
      signal?.removeEventListener('abort', stop)
    }
  }
}

async function loadClient(
  model: 'bccd32' | Where,
  given: TweedieClientOptions,
  made: (worker: PipelineWorker) => TweedieClient,
): Promise<TweedieClient> {
  checkLoad('TweedieClient.load', given)
  const { createWorker = ownWorker, ...options } = given
  const { signal } = options
  signal?.throwIfAborted()
  const worker = new PipelineWorker(createWorker)
  const client = made(worker)
  const stop = (): void => client.dispose()
  signal?.addEventListener('abort', stop)
  try {
    await worker.started()
    await client.load(model, options)
    return client
  } catch (error) {
    client.dispose()
    throw signal?.aborted ? signal.reason : error
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

/** The form that bundlers know. The script is one file, beside which nothing has to lie. */
function ownWorker(): Worker {
  if (typeof Worker === 'undefined')
    throw new TweedieError(
      'worker-unavailable',
      'TweedieClient is for pages, and here are no web workers: on a server, or in Node, use Tweedie itself.',
    )
  return new Worker(new URL('../browser/worker.min.js', import.meta.url), { type: 'module', name: 'tweedie' })
}

function valueOf<T>(answer: Answer<T>, signal: AbortSignal | undefined): T {
  if ('value' in answer) return answer.value
  throw 'error' in answer ? errorOf(answer.error) : signal?.reason
}
