/**
 * A client for pages: the pipeline in a worker, behind a proxy that is typed, tells of its progress and can be stopped.
 * Nothing of the library's kernels comes with it; they are in the worker's script, `tweedie/worker`.
 *
 * @module tweedie/client
 */
export {
  TweedieClient,
  type ClientSampleOptions,
  type ClientScoreOptions,
  type TweedieClientOptions,
} from './client.ts'
export type { ClientInfo, ClientPicture, ClientScores, ClientStep, OnProgress } from './messages.ts'
export { TweedieError, type ErrorCode } from '../errors.ts'
