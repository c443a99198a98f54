import { startWorker, type WorkerHandle } from '#platform'
import { TweedieError } from '../../errors.ts'
import { workerSource } from './generated/worker.ts'
import type { LeaderMessage, StartMessage, WorkerReply } from './protocol.ts'

interface Waiting {
  resolve(bytes: ArrayBuffer): void
  reject(error: TweedieError): void
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
    onFailure: (reply: Extract<WorkerReply, { kind: 'failure' }>) => TweedieError,
  ): Promise<Workers> {
    const workers = new Workers(onFailure)
    await workers.#start(starts)
    return workers
  }

  private constructor(onFailure: (reply: Extract<WorkerReply, { kind: 'failure' }>) => TweedieError) {
    this.#onFailure = onFailure
  }

  #start(starts: readonly Omit<StartMessage, 'kind' | 'thread'>[]): Promise<void> {
    return new Promise((resolve, reject) => {
      let ready = false
      const policy = "a page's content security policy must allow worker-src blob: and script-src 'wasm-unsafe-eval'"
      const notStarted = (reason: string, cause?: unknown): TweedieError =>
        new TweedieError('cpu-unavailable', `The CPU backend could not start a worker thread: ${reason} (${policy}).`, {
          cause,
        })
      const fail = (error: TweedieError): void => {
        this.stop(error)
        reject(error)
      }
      const died = (reason: string): void => {
        fail(
          ready
            ? new TweedieError('device-lost', `A worker thread of the CPU backend ${reason}: request a new device.`)
            : notStarted(`it ${reason}`),
        )
      }
      try {
        for (const [thread, start] of starts.entries()) {
          const handle = startWorker(workerSource, thread, died)
          this.#handles.push(handle)
          handle.receive((message) => {
            const reply = message as WorkerReply
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
            if (reply.kind === 'ready' && thread === 0) {
              ready = true
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
        fail(notStarted(cause instanceof Error ? cause.message : String(cause), cause))
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
