/**
 * The report of a run, readable without a network and without scripts. Up to a thousand samples stand on one page, in
 * the order of drawing or of their minority score, which a switch in plain CSS chooses; more are dealt out to pages,
 * rarest first. A small run's page holds its pictures, so that it can be mailed; a large one's shows those beside it.
 */
import { readFile, stat } from 'node:fs/promises'
import { join, parse, relative, sep } from 'node:path'
import { imageHeader } from '../../data/decode.ts'
import { writeText } from '../../io/file.node.ts'
import { escapeHtml, htmlPage, htmlTable, settingsTable } from './html.ts'
import { slowProgress } from '../progress.ts'
import type { RunRecord } from '../../tweedie/run-record.ts'

export interface ReportRun {
  readonly name: string
  readonly record: RunRecord
  /** "L2", "LPIPS (alex)"; null: nothing was scored. */
  readonly distance: string | null
  /** Where its pictures are. */
  readonly folder: string
}

export interface ReportOptions {
  readonly title: string
  readonly intro: string
}

/** Most samples on a page. */
const perPage = 1000
/** Most bytes of pictures inside a page: a mail takes 25 MB, and base64 makes four bytes of three. */
const embedded = 2 ** 24

/** The URL of a picture of a run. */
type Source = (run: ReportRun, file: string) => Promise<string>

const pageFile = (page: number): string => (page === 0 ? 'report.html' : `report-${page + 1}.html`)

/**
 * Writes report.html into `folder`, of more than {@link perPage} samples also report-2.html and so on. Several runs
 * have the same samples: each card shows one sample of every run side by side.
 */
export async function writeReport(
  folder: string,
  runs: readonly ReportRun[],
  { title, intro }: ReportOptions,
  signal: AbortSignal,
): Promise<void> {
  const { samples } = runs.at(-1)!.record
  const order = [...samples.keys()].sort((a, b) => (samples[b].score ?? 0) - (samples[a].score ?? 0))
  const rank = new Map(order.map((k, i) => [k, i]))
  const pages = Math.ceil(samples.length / perPage)
  const source: Source =
    pages === 1 && (await bytesOf(runs)) <= embedded
      ? async (run, file) => `data:image/png;base64,${(await readFile(join(run.folder, file))).toString('base64')}`
      : async (run, file) => encodeURI(relative(folder, join(run.folder, file)).replaceAll(sep, '/'))
  const first = join(runs[0].folder, runs[0].record.samples[0].file)
  const side = imageHeader(await readFile(first), first)?.width ?? 1
  const pixels = Math.max(1, Math.floor(128 / side)) * side
  const more = style(runs.length * pixels + 12 * (runs.length - 1) + 14)
  const bar = slowProgress('Report', 'pages')
  for (let page = pages - 1; page >= 0; page--) {
    signal.throwIfAborted()
    bar.update(pages - 1 - page, pages)
    const members = pages === 1 ? samples.keys() : order.slice(page * perPage, (page + 1) * perPage)
    const cards: string[] = []
    for (const k of members) cards.push(await card(runs, k, rank.get(k)!, pixels, source))
    const html =
      page === 0 ? mainPage(runs, { title, intro }, cards, pages, more) : furtherPage(title, cards, page, pages, more)
    await writeText(join(folder, pageFile(page)), html, signal)
  }
  bar.stop()
}

/** Bytes of all pictures of the runs. */
async function bytesOf(runs: readonly ReportRun[]): Promise<number> {
  let bytes = 0
  for (const {
    folder,
    record: { samples },
  } of runs) {
    for (const { file, base } of samples)
      for (const picture of base ? [file, base.file] : [file]) bytes += (await stat(join(folder, picture))).size
  }
  return bytes
}

function mainPage(
  runs: readonly ReportRun[],
  { title, intro }: ReportOptions,
  cards: readonly string[],
  pages: number,
  more: string,
): string {
  const scored = isScored(runs)
  const order =
    pages > 1
      ? `<p>${scored ? `Rarest first${byLast(runs)}, ` : ''}${perPage} on a page. The pictures are files beside this ` +
        `one.</p>\n${links(0, pages)}`
      : scored
        ? `<input type="checkbox" id="sorted"><label for="sorted">rarest first${byLast(runs)}</label>`
        : ''
  const body = `<p>${escapeHtml(intro)}</p>
${adapterLine(runs)}
${means(runs)}
${order}
<main>${cards.join('\n')}</main>
<h2>Settings</h2>
${settings(runs)}
${differences(runs)}
<h2>Timings</h2>
${timings(runs)}`
  const footer =
    `tweedie ${escapeHtml(runs[0]?.record.version ?? '')}.` +
    (scored
      ? ' The score is the minority score of Um et al. (ICLR 2024): the distance of an image from what the model ' +
        'makes of it after noise; higher is rarer.'
      : '')
  return htmlPage({ title, body, footer, more })
}

const furtherPage = (title: string, cards: readonly string[], index: number, pages: number, more: string): string =>
  htmlPage({ title, body: `${links(index, pages)}\n<main>${cards.join('\n')}</main>\n${links(index, pages)}`, more })

/** Of several runs the scores of the last one order the samples. */
const byLast = (runs: readonly ReportRun[]): string =>
  runs.length > 1 ? `, by ${escapeHtml(runs.at(-1)?.name ?? '')}` : ''

function links(here: number, pages: number): string {
  const link = (i: number): string => (i === here ? `<b>${i + 1}</b>` : `<a href="${pageFile(i)}">${i + 1}</a>`)
  return `<nav>${Array.from({ length: pages }, (_, i) => link(i)).join(' ')}</nav>`
}

/** Cards share the width of the page, and pictures that of their card; `card` is a card's least width in pixels. */
const style = (card: number): string => `
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, ${card}px), 1fr)) }
.card { display: flex; gap: 12px }
.card figure { flex: 1 }
.card figure div { gap: 2px; align-items: end }
.card img { width: 100%; height: auto }
.card img + img { width: 25% }
#sorted:checked ~ main .card { order: var(--rank) }
#sorted { margin-right: .5em }`

async function card(
  runs: readonly ReportRun[],
  k: number,
  rank: number,
  pixels: number,
  source: Source,
): Promise<string> {
  const figures: string[] = []
  for (const run of runs) {
    const { file, score, metric, label, targets = {}, base } = run.record.samples[k]
    const led = Object.entries(targets)
      .map(([guidance, target]) => `, ${targetNames[guidance] ?? guidance} ${target}`)
      .join('')
    const caption =
      `${runs.length > 1 ? `${escapeHtml(run.name)}<br>` : ''}${k}` +
      `${label === undefined ? '' : `, class ${label}`}${escapeHtml(led)}` +
      `${score === undefined ? '' : `: ${score.toPrecision(4)}`}` +
      `${metric === undefined ? '' : `, metric ${metric.toPrecision(4)}`}`
    const picture = async (file: string, side: number, what: string): Promise<string> =>
      `<img loading="lazy" width="${side}" height="${side}" alt="${what} ${k}, ${escapeHtml(run.name)}" ` +
      `src="${await source(run, file)}">`
    figures.push(
      `<figure><div>${await picture(file, pixels, 'sample')}` +
        `${base ? await picture(base.file, pixels / 4, 'small') : ''}</div><figcaption>${caption}` +
        '</figcaption></figure>',
    )
  }
  return `<div class="card" style="--rank:${rank}">${figures.join('')}</div>`
}

/** How a caption calls what a guidance led a sample to. */
const targetNames: Readonly<Record<string, string>> = { minority: 'level' }

const unique = (values: readonly string[]): string[] => [...new Set(values)]

function adapterLine(runs: readonly ReportRun[]): string {
  return unique(
    runs.map(
      ({
        record: {
          adapter: { backend, name, software },
        },
      }) =>
        software && backend === 'webgpu'
          ? `<p class="note">Computed on ${escapeHtml(name)}, a software adapter: the CPU. The pictures are ` +
            'right; the times are no measure of a GPU.</p>'
          : `<p>Computed on ${escapeHtml(name)}.</p>`,
    ),
  ).join('\n')
}

/** Null where nothing was scored. */
export const meanScore = ({ record: { samples } }: Pick<ReportRun, 'record'>): number | null =>
  samples.every(({ score }) => score !== undefined)
    ? samples.reduce((sum, { score }) => sum + score!, 0) / samples.length
    : null

const isScored = (runs: readonly ReportRun[]): boolean => runs.every((run) => meanScore(run) !== null)

function means(runs: readonly ReportRun[]): string {
  if (!isScored(runs)) return ''
  const distances = unique(runs.map(({ distance }) => distance ?? '')).join(', ')
  const named = (run: ReportRun): string => (runs.length > 1 ? `${escapeHtml(run.name)} ` : '')
  const scores = runs.map((run) => `${named(run)}<b>${meanScore(run)?.toPrecision(4)}</b>`).join(', ')
  return `<p>Mean minority score (${escapeHtml(distances)}): ${scores}.</p>${metrics(runs)}`
}

/**
 * The mean metric of the self-guided runs. Of a run that went on from before it was kept: of the samples that have it.
 */
function metrics(runs: readonly ReportRun[]): string {
  return runs
    .flatMap(({ name, distance, record: { samples, metric } }) => {
      const found = samples.flatMap((sample) => sample.metric ?? [])
      if (!metric || found.length === 0) return []
      const mean = found.reduce((sum, value) => sum + value, 0) / found.length
      return [
        '\n<p>Mean metric of self-guidance (Um &amp; Ye, ECCV 2024; ' +
          `${escapeHtml(distance ?? '')})${runs.length > 1 ? `, ${escapeHtml(name)}` : ''}, at the last guided step, ` +
          `${metric.t}: <b>${mean.toPrecision(4)}</b>.</p>`,
      ]
    })
    .join('')
}

/** A row an option: first those that differ between runs, a column a run, then those in which all agree. */
function settings(runs: readonly ReportRun[]): string {
  const keys = unique(runs.flatMap(({ record }) => Object.keys(record.options))).filter(
    (key) => !['out', 'save', 'npz'].includes(key),
  )
  const shown = ({ record: { options, sha256 } }: ReportRun, key: string): string => {
    const value = options[key]
    if (value === undefined) return ''
    const sum = sha256[key]
    return sum === undefined ? String(value) : `${parse(String(value)).base} (sha256 ${sum.slice(0, 16)}…)`
  }
  const rows = keys.map((key) => [key, ...runs.map((run) => shown(run, key))] as const)
  const agree = (row: readonly string[]): boolean => row.slice(2).every((value) => value === row[1])
  const differing = rows.filter((row) => !agree(row))
  return [
    ...(differing.length > 0 ? [settingsTable(differing, heads(runs))] : []),
    settingsTable(rows.filter(agree).map((row) => row.slice(0, 2))),
  ].join('\n')
}

/** What is not as it was published. */
function differences(runs: readonly ReportRun[]): string {
  const items = runs.flatMap(({ name, record: { differs = [] } }) =>
    differs.map((one) => `<li>${escapeHtml(runs.length > 1 ? `${name}: ${one}` : one)}</li>`),
  )
  return items.length === 0 ? '' : `<h3>Not as published</h3><ul>${items.join('')}</ul>`
}

const heads = (runs: readonly ReportRun[]): string[] | undefined =>
  runs.length > 1 ? ['', ...runs.map(({ name }) => name)] : undefined

function timings(runs: readonly ReportRun[]): string {
  const total = (run: ReportRun, pick: (batch: RunRecord['seconds']['batches'][number]) => number): number =>
    run.record.seconds.batches.reduce((sum, batch) => sum + pick(batch), 0)
  type Row = [string, (run: ReportRun) => string]
  const upsampled = runs.some(({ record }) => record.seconds.batches.some(({ upsampling }) => upsampling !== undefined))
  const drawn: Row[] = [
    ['sampling', (run) => `${total(run, ({ seconds }) => seconds).toFixed(1)} s`],
    [
      'of which first steps, kernels being compiled',
      (run) => `${total(run, ({ firstStep }) => firstStep).toFixed(1)} s`,
    ],
    ['a sample', (run) => `${(total(run, ({ seconds }) => seconds) / run.record.samples.length).toFixed(2)} s`],
  ]
  const large: Row = ['second stage', (run) => `${total(run, ({ upsampling = 0 }) => upsampling).toFixed(1)} s`]
  const scores: Row = ['minority scores', (run) => `${total(run, ({ scoring }) => scoring).toFixed(1)} s`]
  // A second stage alone has no first one, and no scores.
  const scored = isScored(runs)
  const rows: Row[] = [
    ['started', ({ record }) => record.started.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')],
    ['device and weights', ({ record }) => `${record.seconds.load.toFixed(1)} s`],
    ...(scored ? drawn : []),
    ...(upsampled ? [large] : []),
    ...(scored ? [scores] : []),
  ]
  return htmlTable(
    rows.map(([name, value]) => [name, ...runs.map(value)]),
    heads(runs),
  )
}
