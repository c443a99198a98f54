import { TweedieError } from '../../errors.ts'
import { jsonText } from '../../io/json.ts'
import type { NoiseProcess } from '../../nn/config.ts'

/**
 * What a minority classifier's file says about its levels, in `__metadata__.minority`, and the noise of its training. A
 * file of another trainer says nothing, and is taken as it is: one level for each of its outputs.
 */
export interface MinorityMetadata extends NoiseProcess {
  /** L: labels are 0 to L - 1, the last the rarest. Within classes of different numbers, the largest. */
  readonly levels: number
  /**
   * q_j, the largest score of level j: [L], or with `within: 'class'` such a row for each class, as long as
   * that class has levels. Null: the images came with their levels, and nobody says where they were cut.
   */
  readonly thresholds: readonly number[] | readonly (readonly number[])[] | null
  readonly within: 'all' | 'class'
  /** The frozen classifier whose features it reads; null: it reads pixels. */
  readonly extractor: { readonly sha256: string; readonly name: string } | null
}

/**
 * The entry of a classifier file's metadata that {@link minorityMetadata} reads.
 *
 * ```ts
 * await encodeModel(parameters, { ...configMetadata(config, diffusion), ...encodeMinorityMetadata(levels) })
 * ```
 * @throws TweedieError 'non-finite' for a threshold that is no number
 */
export function encodeMinorityMetadata(metadata: MinorityMetadata): { minority: string } {
  const { levels, thresholds, within, schedule, diffusionSteps, rescaleTimesteps, extractor } = metadata
  const written = { levels, thresholds, within, schedule, diffusionSteps, rescaleTimesteps, extractor }
  return { minority: jsonText(written, 'the metadata of a minority classifier') }
}

/**
 * What the file `name` with this metadata says about its levels; null where it says nothing.
 *
 * @throws TweedieError 'format' for metadata that cannot be read
 */
export function minorityMetadata(metadata: Readonly<Record<string, string>>, name: string): MinorityMetadata | null {
  if (metadata.minority === undefined) return null
  const wrong = (message: string): never => {
    throw new TweedieError(
      'format',
      `${name}: its metadata "minority" ${message}: train it again, or take the file as it was written.`,
    )
  }
  let read: unknown
  try {
    read = JSON.parse(metadata.minority)
  } catch {
    // Said below.
  }
  if (typeof read !== 'object' || read === null) return wrong('is no JSON object')
  const { levels, thresholds, within, extractor, schedule, diffusionSteps, rescaleTimesteps } = read as {
    readonly [K in keyof MinorityMetadata]?: unknown
  }
  const whole = (n: unknown): n is number => Number.isInteger(n) && (n as number) >= 1
  if (!whole(levels)) return wrong('does not say how many levels there are')
  if (within !== 'all' && within !== 'class')
    return wrong('does not say whether labels were made within "all" or each "class"')
  const row = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length <= levels && value.every(Number.isFinite)
  const full = (value: unknown): boolean => row(value) && value.length === levels
  // A class without images has an empty row; one of them has all levels.
  const rows =
    within === 'all'
      ? thresholds === null || full(thresholds)
      : Array.isArray(thresholds) && thresholds.every((some) => row(some)) && thresholds.some(full)
  if (!rows) return wrong(`has no threshold for each of its ${levels} levels`)
  const { sha256, name: called } = (extractor ?? {}) as { sha256?: unknown; name?: unknown }
  if (extractor !== null && (typeof sha256 !== 'string' || typeof called !== 'string'))
    return wrong('does not say which extractor it was trained on, null for none')
  if (
    (schedule !== 'cosine' && schedule !== 'linear') ||
    !whole(diffusionSteps) ||
    typeof rescaleTimesteps !== 'boolean'
  )
    return wrong('does not say with which noise it was trained')
  return read as MinorityMetadata
}
