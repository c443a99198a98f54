/** What `tweedie memorization` writes down: the figures, the table of all distances, and the page. */
import { encodePng, type Image, type ImageSet } from '../../data/index.ts'
import type { MemorizationFigures, NearestTraining } from '../../metrics/index.ts'
import { counted } from '../counted.ts'
import { csvField } from '../csv.ts'
import { escapeHtml, htmlPage, htmlTable, inlinePng } from './html.ts'

/** Of `memorizationLevels`. */
const levelNames = ['smallest', '1 %', '5 %', '25 %', 'median', '75 %', '95 %', 'largest']

export interface Measure extends MemorizationFigures {
  /** 'pixels' or 'features'. */
  readonly name: string
}

/** memorization.json. */
export interface Memorization {
  readonly program: 'tweedie'
  readonly kind: 'memorization'
  readonly version: string
  readonly samples: {
    readonly path: string
    readonly number: number
    /** Files that cannot be read as images, if --skip-bad left some out. */
    readonly leftOut?: readonly string[]
  }
  readonly data: {
    readonly name: string
    readonly fingerprint: string
    readonly train: number
    readonly heldOut: number
    readonly select: string
    readonly leftOut?: readonly string[]
  }
  readonly features: { readonly name: string; readonly sha256: string } | null
  readonly measures: readonly Measure[]
}

export interface Pair {
  readonly distance: number
  readonly sampleName: string
  readonly trainingName: string
  readonly sample: Image
  /** Turned as it lies nearest. */
  readonly training: Image
}

/** distances.csv: a row for each sample and each held-out image, a distance and a training image for each measure. */
export function distanceTable(
  measures: readonly { readonly name: string; readonly samples: NearestTraining; readonly heldOut: NearestTraining }[],
  [samples, heldOut]: readonly [ImageSet, ImageSet],
  train: ImageSet,
): string {
  const rows = [
    'set,image',
    ...measures.map(({ name }) => `${name}_distance,${name}_training_image,${name}_symmetry`),
  ].join(',')
  const rowsOf = (part: 'samples' | 'heldOut', set: ImageSet): string[] =>
    Array.from({ length: set.length }, (_, i) =>
      [
        part === 'samples' ? 'sample' : 'held-out',
        csvField(set.imageName(i)),
        ...measures.flatMap(({ [part]: { distances, indices, symmetries } }) => [
          distances[i],
          csvField(train.imageName(indices[i])),
          symmetries[i],
        ]),
      ].join(','),
    )
  return `${[rows, ...rowsOf('samples', samples), ...rowsOf('heldOut', heldOut)].join('\n')}\n`
}

export function memorizationPage(
  { samples, data, features, measures, version }: Memorization,
  nearest: readonly { readonly name: string; readonly pairs: readonly Pair[] }[],
): string {
  const figure = (value: number): string => value.toPrecision(3)
  const what = (name: string): string =>
    name === 'pixels'
      ? 'pixels: root mean square of differences in [-1, 1]'
      : `features of ${features?.name ?? ''}: vectors of length 1`
  const sections = measures.map(
    ({ name, samples, heldOut, nearer }, m) => `<h2>In ${escapeHtml(what(name))}</h2>
${htmlTable(
  levelNames.map((level, i) => [level, figure(samples[i]), figure(heldOut[i])]),
  ['distance to the nearest training image', 'samples', 'held-out images'],
)}
<p><b>${(100 * nearer).toFixed(1)} %</b> of the samples are nearer to a training image than 99 % of the held-out images are; of images like the held-out ones 1 % would be.</p>
<h3>The nearest ${nearest[m].pairs.length}: a sample, and its training image turned to fit</h3>
<main>${nearest[m].pairs.map(card).join('\n')}</main>`,
  )
  return htmlPage({
    title: 'Memorisation',
    body: `<p>${counted(samples.number, 'sample')} (${escapeHtml(samples.path)}) and ${counted(data.heldOut, 'held-out image')} beside the ${counted(data.train, 'training image')} of ${escapeHtml(data.name)}, these in all eight symmetries of the square.</p>
${sections.join('\n')}`,
    footer:
      `tweedie ${escapeHtml(version)}. A model that has learned its data and not its images lies as far from ` +
      'them as held-out images do.',
  })
}

function card({ distance, sampleName, trainingName, sample, training }: Pair): string {
  const pixels = Math.max(1, Math.floor(96 / sample.width)) * sample.width
  return `<div class="card"><div>${inlinePng(encodePng(sample), pixels, `sample ${sampleName}`)}${inlinePng(encodePng(training), pixels, `training image ${trainingName}`)}</div>
<figcaption>${escapeHtml(sampleName)}, ${escapeHtml(trainingName)}: ${distance.toPrecision(3)}</figcaption></div>`
}
