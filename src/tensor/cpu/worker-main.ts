/** The program of a worker, in Node (evaluated as a script, where `require` is at hand) and in a browser. */
import { work } from './worker.ts'

/** Names this text; `scripts/kernels.js` puts a hash of its sources here. */
declare const PROGRAM: string
declare const WorkerGlobalScope: unknown
declare const require: (name: string) => {
  parentPort: {
    postMessage(message: unknown, transfer?: ArrayBuffer[]): void
    on(event: 'message', listener: (message: never) => void): void
  }
}

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
  const scope = globalThis as unknown as {
    postMessage(message: unknown, transfer?: ArrayBuffer[]): void
    onmessage: (event: { data: never }) => void
  }
  work(
    {
      post: (message, transfer) => scope.postMessage(message, transfer),
      receive: (listener) => (scope.onmessage = ({ data }) => listener(data)),
    },
    PROGRAM,
  )
}
