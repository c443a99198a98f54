/** What every kind of guidance of `sample` is, from its files to a term of the score for each batch. */
import type { Device, DeviceNeed } from '../../tensor/index.ts'
import type { Context as ContextOf, Hold, ImageNeed, Lead, Opener as OpenerOf } from '../../tweedie/guidance-files.ts'
import type { SampleSettings } from '../options/sample.ts'

export interface LoadedGuidance {
  /** "minority", the key under which a record keeps the targets. */
  readonly name: string
  /** The term of these samples of the run, `y` being their classes. */
  lead(samples: readonly number[], y: readonly number[] | undefined): Lead
}

/** Opens files for a run, which closes them and keeps their sha256 under the option's name. */
export interface Opener extends OpenerOf<string> {
  /** Keeps a sha256 that is not that of one file, and which files of a folder were left out. */
  keep(option: string, sha256: string, leftOut?: readonly string[]): void
}

export interface OpenGuidance {
  readonly needs: readonly DeviceNeed[]
  load(device: Device, hold: Hold, signal: AbortSignal): Promise<LoadedGuidance>
}

export interface Context extends ContextOf<string> {
  readonly settings: SampleSettings
  readonly images: ImageNeed
  readonly opener: Opener
  readonly signal: AbortSignal
}
