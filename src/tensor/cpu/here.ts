import type { WorkerHandle } from '#platform'
import type { LeaderMessage, StartMessage, WorkerReply } from './protocol.ts'
import { work } from './worker.ts'

/** Node's ports keep the process alive unless told otherwise; a browser's have neither method. */
type Held = MessagePort & { ref?(): void; unref?(): void }

/**
 * The leader on the calling thread, behind a channel as if it were a worker: in a browser every batch is a task of its
 * own, so that timers, signals and frames come in between. (Node takes all that is there at once.)
 */
export function startHere(): WorkerHandle {
  const { port1: outer, port2: inner } = new MessageChannel() as { port1: Held; port2: Held }
  work(
    {
      post: (message: WorkerReply, transfer = []) => inner.postMessage(message, transfer),
      receive: (listener) => {
        inner.onmessage = ({ data }) => listener(data as StartMessage | LeaderMessage)
      },
    },
    'here',
  )
  return {
    post: (message, transfer = []) => outer.postMessage(message, transfer),
    receive: (listener) => {
      outer.onmessage = ({ data }) => listener(data)
    },
    hold(alive) {
      for (const port of [outer, inner]) alive ? port.ref?.() : port.unref?.()
    },
    stop() {
      for (const port of [outer, inner]) {
        port.onmessage = null
        port.close()
      }
    },
  }
}
