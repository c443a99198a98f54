import { startWorker, type WorkerHandle } from '#platform'
import { chunk } from '../../chunk.ts'
import { messageOf, TweedieError } from '../../errors.ts'
import { workerProgram, workerSource } from './generated/worker.ts'
import type { LeaderMessage, StartMessage, WorkerReply } from './protocol.ts'

interface Waiting {
  resolve(bytes: ArrayBuffer): void
  reject(error: TweedieError): void
}

/** Where the program of the workers comes from: a file, or a `blob:` URL of ours. `here`: there is no worker. */
export interface Place {
  readonly url?: string | URL
  readonly here?: boolean
}

/** Seconds for a program of a few KB to arrive and to say that it runs; another one may be silent for ever. */
const patience = 30

type Begin = (thread: number, died: (reason: string) => void) => WorkerHandle

/** What must be so for a start to succeed. Browsers do not say which of it is not. */
function advice({ url, here }: Place): string {
  const wasm = "script-src 'wasm-unsafe-eval'"
  if (here) return `A content security policy must allow ${wasm}.`
  if (url !== undefined)
    return (
      `workerUrl (${url}) must be the file tweedie/cpu-worker of this version, on the page's own origin, allowed by ` +
      `worker-src; it must come with ${wasm}, if with a policy at all, and with the page's ` +
      'Cross-Origin-Embedder-Policy.'
    )
  return (
    `A page's content security policy must allow worker-src blob: and ${wasm}; where blob: is forbidden, serve the ` +
    'file tweedie/cpu-worker and give its address as workerUrl, or compute without a worker: threads: 0.'
  )
}

/**
 * The host's side of the workers: starts them, posts batches to the leader, and hands back what it reads. A worker that
 * dies takes the device with it: everything that waits, and everything after, gets a typed error, and the others are
 * stopped, because a job with a chunk that nobody finishes would never end.
 */
export class Workers {
  readonly #handles: WorkerHandle[] = []
  readonly #waiting = new Map<number, Waiting>()
  readonly #onFailure: (reply: Extract<WorkerReply, { kind: 'failure' }>) => TweedieError
  #lastId = 0
  #failure: TweedieError | null = null

  /** Starts `starts.length` workers and resolves when the leader is ready; the others join when they are. */
  static async start(
    starts: readonly Omit<StartMessage, 'kind' | 'thread'>[],
    place: Place,
    onFailure: (reply: Extract<WorkerReply, { kind: 'failure' }>) => TweedieError,
  ): Promise<Workers> {
    const workers = new Workers(onFailure)
    const { url } = place
    const begin: Begin = place.here
      ? (await chunk('cpu-unavailable', 'of the CPU backend', import('./here.ts'))).startHere
      : (thread, died) => startWorker(workerSource, url, thread, died)
    await workers.#start(starts, begin, place)
    return workers
  }

  private constructor(onFailure: (reply: Extract<WorkerReply, { kind: 'failure' }>) => TweedieError) {
    this.#onFailure = onFailure
  }

  #start(starts: readonly Omit<StartMessage, 'kind' | 'thread'>[], begin: Begin, place: Place): Promise<void> {
    return new Promise((resolve, reject) => {
      let ready = false
      const silence = setTimeout(() => died(`has said nothing for ${patience} s`), 1000 * patience)
      const notStarted = (reason: string, cause?: unknown): TweedieError =>
        new TweedieError('cpu-unavailable', `The CPU backend could not start: ${reason}. ${advice(place)}`, { cause })
      const fail = (error: TweedieError): void => {
        clearTimeout(silence)
        this.stop(error)
        reject(error)
      }
      const died = (reason: string): void => {
        fail(
          ready
            ? new TweedieError('device-lost', `A worker thread of the CPU backend ${reason}: request a new device.`)
            : notStarted(`${place.here ? 'WebAssembly' : 'a worker thread'} ${reason}`),
        )
      }
      try {
        for (const [thread, start] of starts.entries()) {
          const handle = begin(thread, died)
          this.#handles.push(handle)
          handle.receive((message) => {
            // Another program may say anything.
            const reply = (message ?? {}) as WorkerReply
            if (reply.kind === 'refused') {
              return reply.memory
                ? fail(
                    new TweedieError(
                      'out-of-memory',
                      `The system did not give the CPU backend its memory (${reply.message}): ` +
                        'close what else needs memory.',
                    ),
                  )
                : died(`failed (${reply.message})`)
            }
            const known = place.url === undefined || (reply as { program?: string }).program === workerProgram
            if (!(reply.kind === 'ready' ? known : ready)) return died(`is another program than this version's`)
            if (reply.kind === 'ready' && thread === 0) {
              ready = true
              clearTimeout(silence)
              handle.hold(false)
              resolve()
            }
            this.#take(reply)
          })
          // Only work that someone waits for keeps the process alive.
          if (thread > 0) handle.hold(false)
          handle.post({ kind: 'start', ...start, thread } satisfies StartMessage)
        }
      } catch (cause) {
        fail(notStarted(messageOf(cause), cause))
      }
    })
  }

  #take(reply: WorkerReply): void {
    if (reply.kind === 'failure') this.stop(this.#onFailure(reply))
    if (reply.kind !== 'data') return
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if (this.#waiting.size === 0) this.#handles[0]?.hold(false)
    waiting?.resolve(reply.bytes)
  }

  /** Throws what went wrong, if anything did. */
  check(): void {
    if (this.#failure) throw this.#failure
  }

  post(message: LeaderMessage, transfer: ArrayBuffer[]): void {
    this.#handles[0].post(message, transfer)
  }

  /** The bytes at `address` once everything posted so far has run. */
  read(address: number, bytes: number): Promise<ArrayBuffer> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure)
      const id = ++this.#lastId
      if (this.#waiting.size === 0) this.#handles[0].hold(true)
      this.#waiting.set(id, { resolve, reject })
      this.post({ kind: 'read', id, address, bytes }, [])
    })
  }

  /** Ends all threads; those who wait, and all who come later, get `error`. */
  stop(error: TweedieError): void {
    this.#failure = error
    for (const handle of this.#handles.splice(0)) handle.stop()
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}
