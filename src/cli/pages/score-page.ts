/**
 * The page of a scoring (Um et al., ICLR 2024, Figures 1 and 2, Table 3): images sorted by minority score, each beside
 * what the model made of it, the histogram of the scores, and how they differ by class and by brightness. Its size is
 * bounded: of a large set the extremes are shown and evenly spaced ranks between them, as thumbnails.
 */
import { encodePng, type Image } from '../../data/index.ts'
import type { ScoreSettings } from '../../diffusion/index.ts'
import { quantiles } from '../../metrics/index.ts'
import { counted } from '../counted.ts'
import { histogram } from './chart.ts'
import { escapeHtml, htmlPage, htmlTable, inlinePng, settingsTable } from './html.ts'

/** Most images on a page, and of those the rarest and as many of the most common. */
const most = 400
const extremes = 100
/** Most pixels a side of a thumbnail. */
const side = 64

/** What is shown of an image. */
export interface ShownImage {
  readonly name: string
  readonly image: Image
  readonly reconstruction: Image
}

/** A heading and the images under it, by place in the scores, rarest first. */
export interface Group {
  readonly title: string
  readonly members: readonly number[]
}

export interface ScorePage {
  /** Of the data set. */
  readonly name: string
  readonly model: string
  readonly settings: ScoreSettings
  readonly scores: ArrayLike<number>
  /** The class of each score, and the names of the classes. */
  readonly classes?: { readonly labels: ArrayLike<number>; readonly names: readonly string[] }
  /** Mean pixel value (0 to 255) of the rarest and of the most common `count` images. */
  readonly brightness: { readonly count: number; readonly rare: number; readonly common: number }
  readonly groups: readonly Group[]
  /** By place in the scores, every image of `groups`. */
  readonly images: ReadonlyMap<number, ShownImage>
  readonly version: string
}

const titleBegins = 'Minority scores of '

/** Whether a file that begins like this is a page of {@link scorePage}, of whatever scores. */
export const isScorePage = (html: string): boolean =>
  html.startsWith('<!doctype html>') && html.includes(`<title>${titleBegins}`)

/** Places in `scores` from the highest to the lowest. */
export const rarestFirst = (scores: ArrayLike<number>): number[] =>
  Array.from({ length: scores.length }, (_, i) => i).sort((a, b) => scores[b] - scores[a])

/** Which images a page shows: all, or the extremes and evenly spaced ranks between. */
export function pageGroups(scores: ArrayLike<number>): Group[] {
  const order = rarestFirst(scores)
  if (order.length <= most)
    return [{ title: order.length === 1 ? 'The image' : `All ${order.length} images, rarest first`, members: order }]
  const between = most - 2 * extremes
  const inner = order.slice(extremes, -extremes)
  return [
    { title: `The ${extremes} rarest`, members: order.slice(0, extremes) },
    {
      title: `${between} between, at evenly spaced ranks`,
      members: Array.from({ length: between }, (_, i) => inner[Math.floor(((i + 0.5) * inner.length) / between)]),
    },
    { title: `The ${extremes} most common`, members: order.slice(-extremes) },
  ]
}

export async function scorePage(page: ScorePage): Promise<string> {
  const { name, scores, settings, classes, groups } = page
  const { distance, t, timestep, draws, conditional } = settings
  const label = (place: number): string => (classes ? `${classes.names[classes.labels[place]]}, ` : '')
  const rank = new Map(rarestFirst(scores).map((place, i) => [place, i + 1]))
  const card = (place: number): string => {
    const { name: imageName, image, reconstruction } = page.images.get(place) as ShownImage
    const pictures = (
      [
        [image, imageName],
        [reconstruction, `reconstruction of ${imageName}`],
      ] as const
    ).map(([picture, alt]) => {
      return inlinePng(encodePng(picture), Math.max(1, Math.floor(96 / picture.width)) * picture.width, alt)
    })
    return (
      `<figure class="card"><div>${pictures.join('')}</div><figcaption>${rank.get(place)}: ` +
      `${scores[place].toPrecision(4)}<br>${escapeHtml(label(place) + imageName)}</figcaption></figure>`
    )
  }
  const body = `<p>Each pair is an image and what the model makes of it after it was drowned in noise (its Tweedie reconstruction, first draw). The minority score is the distance between the two, here ${escapeHtml(distance)}, averaged over ${counted(draws, 'draw')}: the model gives back what is common, so a high score means rare${conditional ? ' among its class' : ''}.</p>
<h2>Scores</h2>
${await histograms(page)}
${byClass(page)}
${brightness(page)}
${groups.map(({ title, members }) => `<h2>${escapeHtml(title)}</h2>\n<main>${members.map(card).join('\n')}</main>`).join('\n')}
<h2>Settings</h2>
${settingsTable([
  ['data', name],
  ['images', String(scores.length)],
  ['model', `${page.model} (sha256 ${settings.model.slice(0, 16)}…)`],
  ['schedule', `${settings.schedule}, ${settings.diffusionSteps} steps`],
  ['step', `${t} of ${settings.respacing}, step ${timestep} of the training`],
  ['distance', distance],
  ['draws', String(draws)],
  ['seed', String(settings.seed)],
  ['class-conditional', conditional ? 'yes' : 'no'],
])}`
  return htmlPage({
    title: `${titleBegins}${name}`,
    body,
    footer: `tweedie ${escapeHtml(page.version)}. The score is the minority score of Um et al. (ICLR 2024).`,
  })
}

/** Block means, so that no side is over {@link side} pixels. */
export function thumbnail(image: Image): Image {
  const { width, height, channels, data } = image
  const factor = Math.ceil(Math.max(width, height) / side)
  if (factor === 1) return image
  const [columns, rows] = [Math.floor(width / factor), Math.floor(height / factor)]
  const out = new Uint8Array(columns * rows * channels)
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0
        for (let dy = 0; dy < factor; dy++)
          for (let dx = 0; dx < factor; dx++) sum += data[((y * factor + dy) * width + x * factor + dx) * channels + c]
        out[(y * columns + x) * channels + c] = Math.round(sum / factor ** 2)
      }
    }
  }
  return { width: columns, height: rows, channels, data: out }
}

/** The histogram of all scores, and on the same axis one for each class (the first two dozen). */
async function histograms({ scores, classes, settings: { distance } }: ScorePage): Promise<string> {
  const sorted = Float64Array.from(scores).sort()
  const x = { label: `minority score (${distance})`, domain: [sorted[0], sorted.at(-1)!] } as const
  const present = classes ? classMembers(classes, scores) : []
  const shown = present
    .slice(0, 24)
    .map(({ name, scores: some }) => ({ title: `${name}: ${some.length}`, values: some as ArrayLike<number> }))
  const drawn = await Promise.all(
    [{ title: 'all images', values: sorted }, ...shown].map((one) => histogram({ ...one, x })),
  )
  const rest = present.length > 24 ? `<p>The first 24 of ${present.length} classes.</p>` : ''
  return `<div class="charts">${drawn.join('\n')}</div>${rest}`
}

const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length

/** Classes that have images, in order, with their scores in order. */
function classMembers(
  { labels, names }: NonNullable<ScorePage['classes']>,
  scores: ArrayLike<number>,
): { name: string; scores: number[] }[] {
  const members = names.map((name) => ({ name, scores: [] as number[] }))
  for (let i = 0; i < labels.length; i++) members[labels[i]]?.scores.push(scores[i])
  for (const { scores: some } of members) some.sort((a, b) => a - b)
  return members.filter(({ scores: some }) => some.length > 0)
}

/** Mean score by class, highest first. */
function byClass({ scores, classes }: ScorePage): string {
  const row = (name: string, sorted: readonly number[]): string[] => [
    name,
    String(sorted.length),
    ...[mean(sorted), ...quantiles(sorted, [0, 0.5, 1])].map((value) => value.toPrecision(4)),
  ]
  const rows = classes
    ? classMembers(classes, scores)
        .sort((a, b) => mean(b.scores) - mean(a.scores))
        .map(({ name, scores: some }) => row(name, some))
    : []
  return htmlTable(
    [
      row(
        'all',
        Array.from(scores).sort((a, b) => a - b),
      ),
      ...rows,
    ],
    ['class', 'images', 'mean score', 'lowest', 'median', 'highest'],
  )
}

/** Table 3 of the paper: a norm of pixels takes bright images for rare, LPIPS does not. */
const brightness = ({ brightness: { count, rare, common } }: ScorePage): string =>
  `<p>Mean pixel value (0 to 255) of the ${counted(count, 'rarest image')} <b>${rare.toFixed(1)}</b>, of the ` +
  `${count.toLocaleString('en')} most common <b>${common.toFixed(1)}</b>. Where they are far apart, the distance ` +
  "may be measuring brightness: of CelebA's 1,000 rarest and most common faces the paper found 121 and 69 with " +
  'L1, 119 and 69 with L2, 103 and 131 with LPIPS.</p>'
