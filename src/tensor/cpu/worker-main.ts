/**
 * The program of a worker, in Node (evaluated as a script, where `require` is at hand) and in a browser, where the
 * first message may bring a port to speak over in place of the scope: the worker was started for somebody else.
 */
import { work, type Port } from './worker.ts'

/** Names this text; `scripts/kernels.js` puts a hash of its sources here. */
declare const PROGRAM: string
declare const WorkerGlobalScope: unknown
declare const require: (name: string) => {
  parentPort: {
    postMessage(message: unknown, transfer?: ArrayBuffer[]): void
    on(event: 'message', listener: (message: never) => void): void
  }
}

/** The worker's scope, or a port. */
interface End {
  postMessage(message: unknown, transfer?: ArrayBuffer[]): void
  onmessage: (event: { data: never; ports: readonly End[] }) => void
}
const over = (end: End): Port => ({
  post: (message, transfer) => end.postMessage(message, transfer),
  receive: (listener) => (end.onmessage = ({ data }) => listener(data)),
})

// A bundler may define "require" in a browser, too.
if (typeof WorkerGlobalScope === 'undefined') {
  const { parentPort } = require('node:worker_threads')
  work(
    {
      post: (message, transfer) => parentPort.postMessage(message, transfer),
      receive: (listener) => parentPort.on('message', listener),
    },
    PROGRAM,
  )
} else {
  const scope = globalThis as unknown as End
  scope.onmessage = (first) => {
    const [port] = first.ports
    work(over(port ?? scope), PROGRAM)
    if (!port) scope.onmessage(first)
  }
}
