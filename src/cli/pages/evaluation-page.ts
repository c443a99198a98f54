/**
 * The page of an evaluation: methods side by side in a table with intervals and as charts, how rare their images are
 * beside the real ones, precision against rarity, and the samples at both ends with the real images nearest to them.
 */
import { encodePng, type ImageSet } from '../../data/index.ts'
import {
  measures,
  type Distribution,
  type Estimate,
  type EvaluatedSet,
  type EvaluatedSpace,
  type Evaluation,
  type Measurement,
  type PrecisionByRarity,
  type ShownSample,
  type ShownSamples,
} from '../../metrics/evaluation.ts'
import { counted } from '../counted.ts'
import { noteText, notesOf, rarityKey, type Note } from './evaluation-notes.ts'
import { intervalChart, lineChart } from './chart.ts'
import { escapeHtml, htmlPage, inlinePng, settingsTable } from './html.ts'
import { thumbnail } from './score-page.ts'

/** Where the pictures are read from. */
export interface EvaluationImages {
  /** By method; null where there are statistics and no images. */
  readonly methods: readonly (ImageSet | null)[]
  /** What the indices of {@link ShownSample.nearest} count; null where there are statistics and no images. */
  readonly real: ImageSet | null
}

/** The page as HTML, complete in itself. Throws what reading an image throws, and the reason of `signal`. */
export async function evaluationPage(
  evaluation: Evaluation,
  images: EvaluationImages,
  signal?: AbortSignal,
): Promise<string> {
  const { methods, spaces, version } = evaluation
  const notes = notesOf(evaluation)
  const sections: string[] = []
  for (const space of [...spaces, null]) sections.push(await section(evaluation, space, notes))
  const most = mostShown(evaluation.shown.length)
  for (const shown of evaluation.shown) sections.push(await pictures(evaluation, shown, most, images, signal))
  return htmlPage({
    title: `Evaluation of ${methods.map(({ name }) => name).join(', ')}`,
    body: `${introduction(evaluation)}
${folded(notes.filter(({ space }) => space === null))}
${sections.join('\n')}
<h2>Settings</h2>
${settings(evaluation)}`,
    footer:
      `tweedie ${escapeHtml(version)}. Every number depends on how many images there are: ` +
      'compare methods by equally many.',
    more: style,
  })
}

const style = `
td small { color: var(--faint); white-space: nowrap }
td { white-space: nowrap } .settings td { white-space: normal }
.card div { flex-wrap: wrap }
.card img:first-child { margin-right: 8px }
main.shown { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)) }`

/** Notes, more than three of them folded: of many methods in many spaces they would be longer than the tables. */
function folded(notes: readonly Note[]): string {
  if (notes.length === 0) return ''
  const items = notes.map((note) => `<li>${escapeHtml(noteText(note))}</li>`)
  return (
    `<details class="note"${notes.length > 3 ? '' : ' open'}><summary>${counted(notes.length, 'note')} ` +
    'on these numbers</summary>' +
    `<ul>${items.join('\n')}</ul></details>`
  )
}

const rarityNames = {
  avgknn: 'AvgkNN',
  lof: 'LOF',
  rarity: 'Rarity Score',
  score: 'minority score',
  brightness: 'brightness (0 to 1)',
}

function introduction({ methods, real, heldOut, reference }: Evaluation): string {
  const number = (images: number | null, what: string): string =>
    images === null ? 'statistics' : counted(images, what)
  const samples = methods.map(({ name, images, path }) => `${name}: ${number(images, 'sample')} (${path})`).join('; ')
  const more = heldOut ? `, and ${number(heldOut.images, 'image')} that were held out (${heldOut.path})` : ''
  const by = reference.by && `${rarityNames[reference.by]}${reference.space === null ? '' : ` in ${reference.space}`}`
  const rarest = reference.images === null ? 'rarest' : `${reference.images.toLocaleString('en')} rarest`
  const to =
    by === null
      ? ''
      : ' Fréchet distances, KID, precision, recall, density, coverage and realism are to the ' +
        `${rarest} real images by ` +
        `${by}.`
  return `<p>${escapeHtml(samples)}.</p>
<p>${escapeHtml(`Beside ${number(real.images, 'real image')} (${real.path})${more}.${to}`)}</p>`
}

/** What was measured in a space, or, for null, without one. */
async function section(evaluation: Evaluation, space: EvaluatedSpace | null, notes: readonly Note[]): Promise<string> {
  const {
    methods,
    settings: { confidence, resamples },
  } = evaluation
  const here = ({ space: name }: { readonly space: string | null }): boolean => name === (space?.name ?? null)
  const rows = evaluation.measurements.filter(here)
  const charts = await Promise.all([
    ...evaluation.distributions.filter(here).map((one) => densities(one, methods)),
    ...evaluation.precisionByRarity.filter(here).map((one) => precision(one, methods)),
    ...rows
      .filter(({ values }) => values.filter((value) => value !== null).length > 1)
      .map((row) => sideBySide(row, methods)),
  ])
  if (rows.length + charts.length === 0) return ''
  const key = [
    '↑ higher is better, ↓ lower is better.',
    ...(methods.length > 1 ? ['Bold: the best, where its interval overlaps no other.'] : []),
    ...(resamples > 0
      ? [`In small: intervals that hold ${100 * confidence} % of ${resamples.toLocaleString('en')} resamples.`]
      : []),
    ...rarityKey(rows),
  ]
  const about = aboutSpace(space, evaluation.classifier)
  return `<h2>${escapeHtml(space ? `In ${space.name}` : 'Without a feature space')}</h2>
${about && `<p>${escapeHtml(about)}</p>`}
${measurementTable(rows, methods)}
<p>${key.join(' ')}</p>
${space ? folded(notes.filter((note) => note.space === space.name)) : ''}
<div class="charts">${charts.join('\n')}</div>`
}

/** What the numbers of a table follow from. */
function aboutSpace(space: EvaluatedSpace | null, classifier: Evaluation['classifier']): string {
  const short = (text: string): string => text.replace(/[0-9a-f]{64}/, (hash) => `${hash.slice(0, 12)}…`)
  if (!space) return classifier ? `Classifier ${classifier.name}, ${short(`sha256 ${classifier.sha256}`)}.` : ''
  return `${counted(space.dimension, 'number')} an image; ${space.preprocessing}; weights ${short(space.weights)}.`
}

/** Four digits, and no exponent for what has a thousand or more. */
const figure = (value: number): string => (Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(4))

const arrows = { higher: '\u00a0↑', lower: '\u00a0↓' } as const

function measurementTable(rows: readonly Measurement[], methods: readonly EvaluatedSet[]): string {
  if (rows.length === 0) return ''
  // Of statistics, nothing is known of the real images themselves.
  const withReal = rows.some(({ real }) => real !== null)
  const heads = ['', ...methods.map(({ name }) => name), ...(withReal ? ['real images'] : [])]
  const cell = (estimate: Estimate | null, best = false): string => {
    if (estimate === null) return '<td>–</td>'
    const { value, low, high } = estimate
    const interval = low === null || high === null ? '' : `<br><small>${figure(low)} to ${figure(high)}</small>`
    // A count, of copies, is whole and has no interval.
    const text = low === null && Number.isInteger(value) ? String(value) : figure(value)
    return `<td>${best ? `<b>${text}</b>` : text}${interval}</td>`
  }
  const lines = rows.map(({ measure, values, real }) => {
    const { title, better } = measures[measure]
    const best = bestOf(values, better)
    return (
      `<tr><th>${escapeHtml(title)}${better ? arrows[better] : ''}</th>` +
      `${values.map((value) => cell(value, value !== null && value === best)).join('')}` +
      `${withReal ? cell(real) : ''}</tr>`
    )
  })
  return (
    `<div class="table"><table><tr>${heads.map((head) => `<th>${escapeHtml(head)}</th>`).join('')}` +
    `</tr>${lines.join('\n')}</table></div>`
  )
}

/**
 * The best of several methods, where its interval overlaps none of the others'; undefined otherwise, and where nothing
 * is better, or one of them is not to be compared, as a Fréchet distance of covariances without full rank.
 */
function bestOf(values: readonly (Estimate | null)[], better: 'higher' | 'lower' | null): Estimate | undefined {
  const known = values.filter((estimate) => estimate !== null)
  if (better === null || known.length < 2 || known.some(({ doubtful }) => doubtful)) return undefined
  const sign = better === 'higher' ? 1 : -1
  const [best, ...others] = known.toSorted((a, b) => sign * (b.value - a.value))
  const { low, high } = best
  if (low === null || high === null) return undefined
  const apart = (other: Estimate): boolean =>
    other.low !== null && other.high !== null && (better === 'higher' ? low > other.high : high < other.low)
  return others.every(apart) ? best : undefined
}

/** Real images are grey, and a method has its colour in every chart. */
const methodStyle = (method: number): number => method + 1

const densities = (
  { of, grid, real, methods: curves }: Distribution,
  methods: readonly EvaluatedSet[],
): Promise<string> =>
  lineChart({
    title: `Density of ${rarityNames[of]}`,
    x: { label: rarityNames[of] },
    y: { label: 'density' },
    filled: real !== null,
    lines: [
      ...(real ? [{ name: 'real images', x: grid, y: real, style: 0 }] : []),
      ...curves.flatMap((y, m) => (y ? [{ name: methods[m].name, x: grid, y, style: methodStyle(m) }] : [])),
    ],
  })

const precision = ({ methods: curves }: PrecisionByRarity, methods: readonly EvaluatedSet[]): Promise<string> =>
  lineChart({
    title: 'Precision of samples, from the most dense to the rarest',
    x: { label: 'AvgkNN' },
    y: { label: 'precision', domain: [0, 1] },
    lines: curves
      .map((groups, m) => ({
        name: methods[m].name,
        x: groups.map(({ avgknn }) => avgknn),
        y: groups.map(({ precision }) => precision),
        style: methodStyle(m),
      }))
      .filter(({ x }) => x.length > 0),
  })

function sideBySide({ measure, values, real }: Measurement, methods: readonly EvaluatedSet[]): Promise<string> {
  const { title, better } = measures[measure]
  return intervalChart({
    title: `${title}${better ? `: ${better} is better` : ''}${real ? '; dashed: the real images' : ''}`,
    rule: real?.value ?? null,
    rows: values.flatMap((value, m) => (value ? [{ ...value, name: methods[m].name, style: methodStyle(m) }] : [])),
  })
}

/**
 * Samples of a group, of so many methods and spaces: with 12, and up to four pictures each, one of them takes 1 MB of
 * the page, and 40 of them with three no more than 10 MB.
 */
const mostShown = (parts: number): number => Math.max(3, Math.min(12, Math.floor(120 / parts)))

/** Samples of a method in three groups, each beside the real images nearest to it. */
async function pictures(
  { methods }: Evaluation,
  shown: ShownSamples,
  most: number,
  images: EvaluationImages,
  signal?: AbortSignal,
): Promise<string> {
  const [samples, real] = [images.methods[shown.method], images.real]
  if (!samples || !real) return ''
  const groups = [
    ['least dense first', shown.leastDense],
    ['most dense first', shown.mostDense],
    ['nearest to a real image first', shown.nearest],
  ] as const
  const parts: string[] = []
  for (const [title, members] of groups) {
    if (members.length === 0) continue
    const cards: string[] = []
    for (const member of members.slice(0, most)) cards.push(await card(member, samples, real, signal))
    parts.push(
      `<h3>${escapeHtml(`${methods[shown.method].name}, ${title}`)}</h3>\n<main ` +
        `class="shown">${cards.join('\n')}</main>`,
    )
  }
  return parts.length === 0
    ? ''
    : `<h2>${escapeHtml(`${methods[shown.method].name} in ${shown.space}`)}</h2>
<p>Each sample, its AvgkNN, and to its right the real images that are nearest to it in ${escapeHtml(shown.space)}, with their distances.</p>
${parts.join('\n')}`
}

async function card(
  { index, name, avgknn, nearest }: ShownSample,
  samples: ImageSet,
  real: ImageSet,
  signal?: AbortSignal,
): Promise<string> {
  const picture = async (set: ImageSet, at: number, alt: string): Promise<string> => {
    signal?.throwIfAborted()
    return inlinePng(encodePng(thumbnail(await set.read(at, signal))), 64, alt)
  }
  const all = [await picture(samples, index, `sample ${name}`)]
  for (const one of nearest) all.push(await picture(real, one.index, `real image ${one.name}`))
  const distances = nearest.map((one) => `${one.name} ${one.distance.toPrecision(3)}`).join(', ')
  return (
    `<figure class="card"><div>${all.join('')}</div><figcaption>${escapeHtml(name)}: ` +
    `${avgknn.toPrecision(4)}<br>${escapeHtml(distances)}</figcaption></figure>`
  )
}

function settings({
  settings: { k, lofK, resamples, confidence, seed },
  real,
  heldOut,
  methods,
  spaces,
}: Evaluation): string {
  const sets = [
    ...methods,
    { ...real, name: 'real images' },
    ...(heldOut ? [{ ...heldOut, name: 'held-out images' }] : []),
  ]
  return settingsTable([
    ['neighbours', String(k)],
    ['neighbours of LOF', String(lofK)],
    ['resamples', String(resamples)],
    ['confidence', String(confidence)],
    ['seed', String(seed)],
    ...sets.map(({ name, path, fingerprint }) => [name, `${path} (${fingerprint})`]),
    ...spaces.map(({ name, preprocessing, weights }) => [`space ${name}`, `${preprocessing}; weights ${weights}`]),
  ])
}
