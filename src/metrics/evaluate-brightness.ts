import type { ImageSet } from '../data/index.ts'
import { meanOf } from './bootstrap.ts'
import { brightness } from './brightness.ts'
import { distributionOf, type EvaluateOptions } from './evaluate.ts'
import { Table } from './evaluation-table.ts'
import type { Distribution, Measurement } from './evaluation.ts'

/** What {@link evaluateBrightness} found. */
export interface BrightnessEvaluation {
  readonly measurements: readonly Measurement[]
  readonly distribution: Distribution | null
  /** `[N]` of the real images; null where there are none. */
  readonly real: Float64Array | null
  /** `[N]` by method. */
  readonly samples: readonly Float64Array[]
}

/** How bright the images are, 0 to 1: `real` is null where there are none. */
export async function evaluateBrightness(
  real: ImageSet | null,
  methods: readonly ImageSet[],
  options: Pick<EvaluateOptions, 'resamples' | 'confidence' | 'seed' | 'signal' | 'onProgress'>,
): Promise<BrightnessEvaluation> {
  const { signal, onProgress } = options
  const of = (set: ImageSet): Promise<Float64Array> =>
    brightness(set, { signal, onProgress: (done) => onProgress?.(`brightness of ${set.name}`, done) })
  const table = new Table(null, methods.length, options)
  const samples: Float64Array[] = []
  for (const [m, set] of methods.entries()) {
    samples.push(await of(set))
    await table.set('brightness', m, meanOf(samples[m]))
  }
  const found = real && (await of(real))
  if (found) await table.real('brightness', meanOf(found))
  const distribution = found && distributionOf('brightness', null, [found, ...samples])
  return { measurements: table.rows(), distribution, real: found, samples }
}
