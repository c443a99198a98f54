/**
 * run.json: what a run was asked for, with what it was computed, and which samples are finished: all that `tweedie
 * replay` needs. The command line writes it batch by batch; `Tweedie.record` makes it of a finished run.
 */
import { aBoolean, aCount, aNumber, aText, anyOf, fieldsOf, listOf, oneOf, optional, valuesOf } from '../io/json.ts'
import type { Device } from '../tensor/index.ts'

/**
 * run.json: what a run was asked for, with what it was computed, and what came of it. `tweedie replay` draws it again.
 */
export interface RunRecord {
  readonly program: 'tweedie'
  readonly version: string
  readonly status: 'unfinished' | 'done'
  /** ISO 8601. */
  readonly started: string
  /** Every option in the command line's words, with the defaults filled in. */
  readonly options: Readonly<Record<string, string | number | boolean>>
  /** What is not as it was published, a line each; absent where all is, or nothing was. */
  readonly differs?: readonly string[]
  /**
   * Of a self-guided run, what its samples' `metric` is of: the last guided step, by its respaced index and
   * the step of training.
   */
  readonly metric?: { readonly t: number; readonly timestep: number }
  /** SHA-256 of the files read, by option. */
  readonly sha256: Readonly<Record<string, string>>
  /** Of folders with `--skip-bad`, the files that cannot be read as images, by option. */
  readonly leftOut?: Readonly<Record<string, readonly string[]>>
  /** What computed it. On the CPU the architecture says which SIMD; the threads in the name change no result. */
  readonly adapter: {
    readonly backend: 'webgpu' | 'cpu'
    readonly name: string
    readonly vendor: string
    readonly architecture: string
    readonly software: boolean
  }
  /** The kernels it was computed with: variants by shape, as `Device.kernels` has them. */
  readonly kernels: Readonly<Record<string, string>>
  /** Those that are finished, in order. */
  readonly samples: readonly {
    readonly file: string
    /** SHA-256 of the picture's file. */
    readonly sha256: string
    /** The small picture it was made from, of two stages. */
    readonly base?: { readonly file: string; readonly sha256: string }
    /**
     * Minority score, of two stages that of the small picture; higher is rarer. A second stage alone scores nothing.
     */
    readonly score?: number
    /** Of a self-guided run, the metric of the last guided step: see {@link RunRecord.metric}. */
    readonly metric?: number
    readonly label?: number
    /** What a guidance led it to, where each has its own: "minority" a level, "attributes" ones and zeros. */
    readonly targets?: Readonly<Record<string, number | string>>
  }[]
  readonly seconds: {
    readonly load: number
    readonly batches: readonly {
      readonly samples: number
      /** Sampling alone. */
      readonly seconds: number
      /** Of which the first step, in which kernels are compiled. */
      readonly firstStep: number
      /** Of two stages, the second. */
      readonly upsampling?: number
      readonly scoring: number
    }[]
  }
}

/** A sample of a run. */
export type FinishedSample = RunRecord['samples'][number]
/** A picture and the SHA-256 of its file. */
export type Picture = Pick<FinishedSample, 'file' | 'sha256'>
/** How long a batch took. */
export type BatchTiming = RunRecord['seconds']['batches'][number]
/** Kernel variants by shape. */
export type Kernels = RunRecord['kernels']

/** What a record says of the device. */
export const adapterIn = ({ backend, adapter }: Device): RunRecord['adapter'] => {
  const { name, vendor, architecture, software } = adapter
  return { backend: backend.kind, name, vendor, architecture, software }
}

/** Four digits or as many as the last of `number` has, so that names sort as their samples do. */
const fileOf = (kind: string, index: number, number: number): string =>
  `${kind}-${String(index).padStart(Math.max(4, String(number - 1).length), '0')}.png`
/** The picture of sample `index` of a run of `number`. */
export const sampleFile = (index: number, number: number): string => fileOf('sample', index, number)
/** The small picture of sample `index`. */
export const baseFile = (index: number, number: number): string => fileOf('base', index, number)

const pictureFields = { file: aText, sha256: aText }
/** Says what of a value is no {@link RunRecord}. */
export const isRecord = fieldsOf({
  program: oneOf('tweedie'),
  version: aText,
  status: oneOf('unfinished', 'done'),
  started: aText,
  options: valuesOf(anyOf(aText, aNumber, aBoolean)),
  sha256: valuesOf(aText),
  leftOut: optional(valuesOf(listOf(aText))),
  kernels: valuesOf(aText),
  differs: optional(listOf(aText)),
  metric: optional(fieldsOf({ t: aCount, timestep: aCount })),
  adapter: fieldsOf({
    backend: oneOf('webgpu', 'cpu'),
    name: aText,
    vendor: aText,
    architecture: aText,
    software: aBoolean,
  }),
  samples: listOf(
    fieldsOf({
      ...pictureFields,
      base: optional(fieldsOf(pictureFields)),
      score: optional(aNumber),
      metric: optional(aNumber),
      label: optional(aCount),
      targets: optional(valuesOf(anyOf(aText, aNumber))),
    }),
  ),
  seconds: fieldsOf({
    load: aNumber,
    batches: listOf(
      fieldsOf({
        samples: aCount,
        seconds: aNumber,
        firstStep: aNumber,
        upsampling: optional(aNumber),
        scoring: aNumber,
      }),
    ),
  }),
})
