/**
 * The report of a training run: loss and squared error by timestep quartile, the evaluations of its checkpoints, and
 * its settings, in one HTML file without scripts.
 */
import { halved } from '../../train/log.ts'
import type { AnyTrainer, Row } from '../../train/index.ts'
import type { RunDescription } from '../training/train-run.ts'
import { version } from '../../version.ts'
import { lineChart } from './chart.ts'
import { escapeHtml, htmlPage, htmlTable, settingsTable } from './html.ts'

export interface Curve {
  readonly title: string
  /** Of the y axis: what is measured. */
  readonly label: string
  /** Logarithmic where its values span a factor of three or more; everything is positive then. */
  readonly log: boolean
  /** By images seen. */
  readonly x: readonly number[]
  readonly lines: readonly { readonly name: string; readonly y: readonly (number | null)[] }[]
}

export interface TrainPage {
  readonly title: string
  readonly trainer: AnyTrainer
  readonly run: RunDescription
  /** Curves of the task's own: evaluations. */
  readonly curves?: readonly Curve[]
  /** HTML between the curves and the settings: tables, sample sheets. */
  readonly body?: string
}

export async function trainPage({ title, trainer, run, curves = [], body = '' }: TrainPage): Promise<string> {
  const {
    rowsSoFar: rows,
    step,
    history,
    task: { groups },
    options: { steps, batch },
  } = trainer
  // One point makes no curve: of evaluations a table says it anyway, of the log the one below.
  const drawn = [...curves, ...curvesOf(rows, groups)].filter(({ x }) => x.length > 1)
  const charts = await Promise.all(drawn.map(drawing))
  const seen = `Step ${step} of ${steps}, ${(step * batch).toLocaleString('en')} images seen`
  const changed = history.map((change) => [`after step ${change.step}`, change.what])
  const changes = changed.length > 0 ? `<h2>Changes on the way</h2>${settingsTable(changed)}\n` : ''
  const quarters = groups.length > 1 ? ' q0 to q3 are quartiles of the timestep: q0 the least noise, q3 the most.' : ''
  return htmlPage({
    title,
    body: `<p>${seen}${step < steps ? ': the run is not finished' : ''}.</p>
${charts.length > 0 ? `<div class="charts">${charts.join('\n')}</div>` : ''}
${rows.length === 1 ? onlyRow(rows[0], groups) : ''}
${body}
${changes}<h2>Settings</h2>
${settings(run)}`,
    footer: `tweedie ${escapeHtml(version)}.${quarters}`,
  })
}

/** Most points of a curve: more are means of neighbours, for a chart is some 400 pixels wide. */
const mostPoints = 400

/** The log's figures, each with its groups: one group has no curves of its own. */
function curvesOf(rows: readonly Row[], groups: readonly string[]): Curve[] {
  while (rows.length > mostPoints) rows = halved(rows)
  const x = rows.map((row) => row.images)
  return Object.keys(rows[0]?.values ?? {}).map((name) => {
    const y = (pick: (row: Row) => number | null): (number | null)[] => rows.map(pick)
    const byGroup =
      groups.length > 1
        ? groups.map((group, g) => ({ name: group, y: y((row) => row.values[name]?.byGroup[g] ?? null) }))
        : []
    const lines = [{ name: 'all', y: y((row) => row.values[name]?.all ?? null) }, ...byGroup]
    const log = lines.every((line) => line.y.every((value) => value === null || value > 0))
    return { title: `${name} while training`, label: name, log, x, lines }
  })
}

/** The log of a run that is so short that it has one row. */
function onlyRow({ images, values }: Row, groups: readonly string[]): string {
  const figures = Object.values(values)
  const row = (name: string, pick: (of: Row['values'][string]) => number | null | undefined): string[] => [
    name,
    ...figures.map((figure) => pick(figure)?.toPrecision(4) ?? ''),
  ]
  const byGroup = groups.length > 1 ? groups.map((group, g) => row(group, ({ byGroup }) => byGroup[g])) : []
  return `<h2>While training, up to ${images.toLocaleString('en')} images</h2>
${htmlTable([row('all', ({ all }) => all), ...byGroup], ['', ...Object.keys(values)])}`
}

function drawing({ title, label, x, log, lines }: Curve): Promise<string> {
  const values = lines.flatMap(({ y }) => y.flatMap((value) => (Number.isFinite(value) ? [value as number] : [])))
  // Some thousand values: they fit into a call.
  const [low, high] = [Math.min(...values), Math.max(...values)]
  // Below a factor of three, a logarithmic axis would have no tick to read.
  const y = log && high > 3 * low ? { label, log: [low, high] as const } : { label }
  return lineChart({ title, x: { label: 'images seen' }, y, lines: lines.map((line) => ({ ...line, x })) })
}

/** `scheduleSampler`, `image_size`: as words, which break between and not within. */
const words = (name: string): string =>
  name
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replaceAll('_', ' ')
    .toLowerCase()

/** A value as people write it: yes and no, lists with commas. */
function shown(value: unknown): string {
  if (value === null || value === undefined) return 'none'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (Array.isArray(value)) return value.map(shown).join(', ') || 'none'
  return typeof value === 'object'
    ? Object.entries(value)
        .map(([key, one]) => `${words(key)} ${shown(one)}`)
        .join(', ')
    : String(value)
}

/** A table of the settings; what consists of several, such as a network's configuration, has a table of its own. */
function settings(run: RunDescription): string {
  const entries = Object.entries(run).map(([name, value]) => [words(name), parsed(value)] as const)
  const isGroup = (value: unknown): value is object =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  const table = (pairs: readonly (readonly [string, unknown])[]): string =>
    settingsTable(pairs.map(([name, value]) => [name, shown(value)]))
  const groups = entries.flatMap(([name, value]) =>
    isGroup(value)
      ? [`<h3>${escapeHtml(name)}</h3>\n${table(Object.entries(value).map(([key, one]) => [words(key), one]))}`]
      : [],
  )
  return [table(entries.filter(([, value]) => !isGroup(value))), ...groups].join('\n')
}

/** Configurations stand in the metadata of a model, and so of its run, as JSON. */
function parsed(value: unknown): unknown {
  if (typeof value !== 'string' || !/^[[{]/.test(value)) return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}
