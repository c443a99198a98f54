/**
 * What files of training say of themselves, as rows for `tweedie info`: states of runs, and the models that came of
 * them.
 */
import { TweedieError } from '../../errors.ts'
import { classifierMetadata, minorityMetadata } from '../../diffusion/index.ts'
import type { Checkpoint } from '../../io/index.node.ts'
import { aCount, aNumber, fieldsOf, listOf, optional } from '../../io/json.ts'
import { noiseInWords } from '../../nn/index.ts'
import { clipped } from '../../printable.ts'
import { classNames, countersOf, runOfState, trainingOf } from '../../train/index.ts'
import { counted } from '../counted.ts'

type Row = readonly [key: string, value: string]

const count = (n: number | undefined): string => n?.toLocaleString('en') ?? 'not told'

const isRun = fieldsOf({
  steps: optional(aCount),
  batch: optional(aCount),
  lr: optional(aNumber),
  emaRates: optional(listOf(aNumber)),
  seed: optional(aCount),
})
interface Run {
  readonly kind?: unknown
  readonly config?: unknown
  readonly steps?: number
  readonly batch?: number
  readonly lr?: number
  readonly emaRates?: readonly number[]
  readonly seed?: number
  readonly data?: unknown
  readonly adapter?: unknown
}

/** How far a run is, and on what. */
export function stateRows(checkpoint: Checkpoint): Row[] {
  const run = runOfState(checkpoint)
  const wrong = isRun(run, 'run')
  if (wrong !== undefined) throw new TweedieError('format', `${checkpoint.name}: ${wrong}. The file is damaged.`)
  const { kind, config, steps, batch, lr, emaRates, seed, data, adapter } = run as Run
  const images = (n?: number): number | undefined => (n === undefined || batch === undefined ? undefined : n * batch)
  const { step, rows, history = [] } = countersOf(checkpoint)
  // Only classifiers have a pool.
  const command = kind === 'features' ? kind : String(config).includes('"pool"') ? 'classifier' : 'diffusion'
  const loss = rows.at(-1)?.values.loss?.all
  return [
    ['kind', `state of a run of train ${command}: --resume goes on with it; its model is model.safetensors`],
    ['  step', `${count(step)} of ${count(steps)}`],
    ['  images seen', `${count(images(step))} of ${count(images(steps))}, ${count(batch)} a step`],
    ...(typeof loss === 'number' ? [['  loss', loss.toPrecision(4)] as const] : []),
    ['  learning rate', String(lr)],
    ['  averages', emaRates?.join(', ') || 'none'],
    ['  seed', String(seed)],
    ['  data', `fingerprint ${String(data)}`],
    ['  computed on', String(adapter)],
    ...history.map(({ step: from, what }): Row => ['  changed', `after step ${count(from)}: ${what}`]),
  ]
}

/** What a model was trained to tell, and for how long, as far as its file says. */
export function modelRows({ metadata, name }: Checkpoint): Row[] {
  const rows: Row[] = []
  const minority = minorityMetadata(metadata, name)
  const told = classifierMetadata(metadata, name)
  if (minority) {
    const { levels, within, thresholds, extractor } = minority
    const scores = thresholds && Float64Array.from(thresholds.flat()).sort()
    rows.push(
      [
        'tells',
        `${levels} minority levels, cut within ${within === 'all' ? 'all images' : 'each class'}: ` +
          'for --minority-classifier',
      ],
      [
        '  scores',
        scores
          ? `up to ${scores[0]?.toPrecision(4)} in the lowest level, ${scores.at(-1)?.toPrecision(4)} in the rarest`
          : 'not known: the images came with their levels',
      ],
      ['  reads', extractor ? `features of ${extractor.name}, sha256 ${extractor.sha256}` : 'pixels'],
      ['  trained on', noiseInWords(minority)],
    )
  } else if (told) rows.push(['tells', `${told.of === 'real' ? 'images' : told.of}: ${told.names.join(', ')}`])
  const classes = classNames(metadata, name)
  if (classes)
    rows.push([
      'classes',
      `${classes
        .slice(0, 20)
        .map((one, label) => `${label} ${clipped(one, 40)}`)
        .join(', ')}${classes.length > 20 ? ` and ${classes.length - 20} more` : ''}: for --labels`,
    ])
  const { step, images, data } = trainingOf(metadata)
  if (typeof step === 'number' && typeof images === 'number')
    rows.push([
      'trained',
      `${counted(images, 'image')}, ${counted(step, 'step')}` +
        `${typeof data === 'string' ? `, on data of the fingerprint ${data}` : ''}`,
    ])
  return rows
}
