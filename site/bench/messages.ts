/** What the page and its worker say to each other. */
import type { BenchReport } from '../../dist/bench/index.js'
import type { State } from './state.ts'

export type ToWorker = { readonly kind: 'run'; readonly state: State } | { readonly kind: 'stop' }

export type FromWorker =
  /** The script runs. */
  | { readonly kind: 'ready' }
  /** `done` of `total` kernels and passes; what is being measured. */
  | { readonly kind: 'progress'; readonly done: number; readonly total: number; readonly now: string }
  /** All that is known so far. */
  | { readonly kind: 'report'; readonly report: BenchReport }
  | { readonly kind: 'end'; readonly how: 'done' | 'stopped' }
  | { readonly kind: 'failed'; readonly message: string }
