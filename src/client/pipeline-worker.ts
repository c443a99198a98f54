import { proxy, wrap } from 'comlink'
import { messageOf, TweedieError } from '../errors.ts'
import { version } from '../version.ts'
import type { Pipeline } from './messages.ts'
import { notSent } from './options.ts'
import { PageThreads } from './threads.ts'

/** What the worker's program says first. */
interface Greeting {
  readonly version: string
}

/**
 * Seconds for the script to arrive and to say so. It is 0.2 MB, and loading a model comes after; a script of another
 * program, and a policy that blocks in silence, have no other end.
 */
const patience = 30

/** A worker with a {@link Pipeline} in it, whose end everyone who waits for it hears of. */
export class PipelineWorker {
  readonly #worker: Worker
  readonly #greeting: Promise<Greeting>
  readonly #pipeline: Pipeline
  readonly #threads = new PageThreads()
  readonly #waiting = new Set<(error: unknown) => void>()
  readonly #ended = new AbortController()

  /** Starts it; {@link started} says whether that went well. */
  constructor(createWorker: () => Worker) {
    try {
      this.#worker = createWorker()
      if (typeof this.#worker?.postMessage !== 'function' || typeof this.#worker.addEventListener !== 'function')
        throw new Error(`createWorker gave ${String(this.#worker)}, which is none`)
    } catch (cause) {
      if (cause instanceof TweedieError) throw cause
      throw notStarted(messageOf(cause), cause)
    }
    this.#greeting = new Promise((resolve) =>
      this.#worker.addEventListener('message', ({ data }) => resolve(data as Greeting), { once: true }),
    )
    this.#pipeline = wrap(this.#worker) as unknown as Pipeline
  }

  /** Resolves when its program runs. */
  async started(): Promise<void> {
    const worker = this.#worker
    // A script that is not there, or not allowed, says nothing more.
    worker.onerror = ({ message }) => this.end(notStarted(message || 'the browser does not say why'))
    worker.onmessageerror = () => this.end(died('a message of it could not be read'))
    const silence = setTimeout(() => this.end(notStarted(`it has said nothing for ${patience} s`)), 1000 * patience)
    const { version: other } = (await this.call(() => this.#greeting).finally(() => clearTimeout(silence))) ?? {}
    // A copy of the script that was left behind by an update.
    if (other !== version) this.end(notStarted(`it is of version ${other}, and the client of ${version}`))
    const lock = `tweedie-${Date.now()}-${Math.random()}`
    const held = await this.call((pipeline) => pipeline.begin(lock, proxy(this.#threads)))
    worker.onerror = ({ message }) => this.end(died(message || 'the browser does not say why'))
    const { signal } = this.#ended
    // A page in the browser's back/forward cache has its worker there, too, which is not told.
    for (const event of ['pagehide', 'pageshow'] as const) {
      const tell = (): void => void this.call((pipeline) => pipeline.page(event)).catch(() => {})
      globalThis.addEventListener?.(event, tell, { signal })
    }
    if (!held) return
    // The lock is free once the worker is no more: no browser has an event for that.
    const { locks } = globalThis.navigator as Partial<Navigator>
    locks?.request(lock, { signal }, () => this.end(died('the browser ended it'))).catch(() => {})
  }

  /** What the worker answers; rejects when it ends before that. */
  call<T>(ask: (pipeline: Pipeline) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#ended.signal.aborted) return reject(this.#ended.signal.reason as Error)
      this.#waiting.add(reject)
      void ask(this.#pipeline)
        .then(resolve, (error: unknown) => reject(unsendable(error)))
        .finally(() => this.#waiting.delete(reject))
    })
  }

  /** Ends it; whoever waits for it, or asks it later, gets this error. */
  end(error: TweedieError): void {
    if (this.#ended.signal.aborted) return
    this.#worker.terminate()
    this.#threads.close()
    this.#ended.abort(error)
    for (const reject of this.#waiting) reject(error)
    this.#waiting.clear()
  }
}

const notStarted = (why: string, cause?: unknown): TweedieError =>
  new TweedieError(
    'worker-unavailable',
    `The worker of TweedieClient does not start (${why}). Look whether its script is found, comes from the page's ` +
      "own origin and is allowed by the policy (worker-src 'self'); to a page with Cross-Origin-Embedder-Policy it " +
      'must come with that header, too. Where a bundler leaves it out: createWorker: () => new Worker(new URL(' +
      "'tweedie/worker', import.meta.url), { type: 'module' }), or the address of a copy of it. See docs/client.md.",
    { cause },
  )

const died = (why: string): TweedieError =>
  new TweedieError(
    'device-lost',
    `The worker of TweedieClient ended (${why}), perhaps for want of memory: load a new client, with a smaller batch.`,
  )

/** What cannot be sent is said as the browser says it, but typed. */
const unsendable = (error: unknown): unknown =>
  error instanceof DOMException && error.name === 'DataCloneError'
    ? notSent(`what was given (${error.message})`, error)
    : error
