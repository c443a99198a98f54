/** What a page and its worker say to each other, over comlink. */
import { messageOf, TweedieError, type ErrorCode } from '../errors.ts'
import type { WorkerStarter } from '../platform/workers.ts'
import type {
  RunRecord,
  TweedieOptions,
  TweedieSampleOptions,
  TweedieScoreOptions,
  TweedieStep,
  Where,
} from '../tweedie/index.ts'
import type { Image } from '../data/index.ts'
import type { AdapterDescription, BackendStats } from '../tensor/index.ts'

/** The options of `Tweedie.load` that can be sent: no functions, no devices. */
export type SentLoadOptions = Omit<TweedieOptions, 'device' | 'gpuDevice' | 'distance' | 'onProgress' | 'signal'> & {
  /** For self-guidance and scores. Default: the set's feature net, else `'l2'`. */
  readonly distance?: Exclude<TweedieOptions['distance'], (...args: never[]) => unknown>
}

/** The options of `Tweedie.sample` that can be sent. */
export type SentSampleOptions = Omit<TweedieSampleOptions, 'guidances' | 'selfGuidance' | 'signal'> & {
  /** Adds self-guidance to any method, by the distance that was loaded. */
  readonly selfGuidance?: Omit<NonNullable<TweedieSampleOptions['selfGuidance']>, 'distance'>
  /** Also the `run.json` of the run, `ClientStep.record` of its last step. Default false. */
  readonly record?: boolean
}

/** The options of `Tweedie.score` that can be sent. */
export interface SentScoreOptions extends Omit<TweedieScoreOptions, 'onProgress' | 'signal'> {
  /** Also what the scores are distances to, `ClientScores.reconstructions`. Default false. */
  readonly reconstructions?: boolean
}

/** A picture to score: a file (PNG, JPEG, or what else the browser reads), or pixels. */
export type ClientPicture = Blob | ImageBitmap | ImageData | Image

/** What is known of the loaded model. */
export interface ClientInfo {
  /** What computes. */
  readonly adapter: AdapterDescription & { readonly backend: 'cpu' | 'webgpu' }
  /** What was chosen, renamed or left out in its files, a sentence each: `Tweedie.notes`. */
  readonly notes: readonly string[]
  /** Levels of the minority classifier, of which the last is the rarest; null without one. */
  readonly minorityLevels: number | null
  /** Images at a time that memory was asked for. */
  readonly batch: number
  /** Side of a picture, in pixels. */
  readonly imageSize: number
  /** 3, or 1 for grey. */
  readonly channels: number
  /** How many classes `labels` may name; null for a model without classes. */
  readonly classes: number | null
}

/** A step of `Tweedie.sample`, with pictures as a page shows them. */
export interface ClientStep extends Omit<TweedieStep, 'images'> {
  /**
   * The pictures so far, `images[k]` being sample k, as `TweedieStep.images` has them; null for one that was finished
   * at the step before and is what it was. They are the page's to show and to close.
   */
  readonly images: readonly (ImageBitmap | null)[]
  /** With `record`, after the last step: what `tweedie replay` draws the run again from, see `Tweedie.record`. */
  readonly record?: RunRecord
}

/** What `TweedieClient.score` gives. */
export interface ClientScores {
  /** One for each picture; higher is rarer. */
  readonly scores: Float32Array<ArrayBuffer>
  /** With `reconstructions` each picture as the model makes it of noise, of the model's size: `Tweedie.reconstruct`. */
  readonly reconstructions?: readonly ImageBitmap[]
}

/** Called while a job runs: done so far, and in all. */
export type OnProgress = (done: number, total: number) => unknown

/** What the worker does. A job is a number of the page's, by which it may be stopped. */
export interface Pipeline {
  /**
   * From here on `threads` of the page starts the CPU backend's threads. Holds a lock of the browser by the name until
   * the worker is gone; false where it cannot.
   */
  begin(lock: string, threads: WorkerStarter): Promise<boolean>
  /** Replaces the model. */
  load(
    job: number,
    model: 'bccd32' | Where,
    options: SentLoadOptions,
    onProgress: OnProgress | null,
  ): Promise<Answer<ClientInfo>>
  /** Begins to draw; {@link next} gives the steps. */
  sample(job: number, options: SentSampleOptions): Promise<void>
  /** The next step; null after the last. */
  next(job: number): Promise<Answer<ClientStep | null>>
  score(
    job: number,
    pictures: readonly ClientPicture[] | Float32Array,
    options: SentScoreOptions,
    onProgress: OnProgress | null,
  ): Promise<Answer<ClientScores>>
  stats(): Promise<Answer<BackendStats>>
  /** Tells that the page goes, or is back. */
  page(event: 'pagehide' | 'pageshow'): Promise<void>
  /** Ends a job, and answers when all it took is freed. */
  stop(job: number): Promise<void>
}

/** How a job ended. Errors are values here: structured clone forgets their class and code. */
export type Answer<T> = { readonly value: T } | { readonly stopped: true } | { readonly error: SentError }

/** What is left of an error on its way. */
export interface SentError {
  /** Null for one that is none of ours. */
  readonly code: ErrorCode | null
  readonly message: string
  readonly stack: string | undefined
}

/** An error as it is sent. */
export const sentError = (error: unknown): SentError => ({
  code: error instanceof TweedieError ? error.code : null,
  message: messageOf(error),
  stack: error instanceof Error ? error.stack : undefined,
})

/** The error that was sent, with the stack that it had in the worker. */
export function errorOf({ code, message, stack }: SentError): Error {
  const error = code ? new TweedieError(code, message) : new Error(message)
  return stack === undefined ? error : Object.assign(error, { stack })
}
