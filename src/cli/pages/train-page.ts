/**
 * The report of a training run: loss and squared error by timestep quartile, the evaluations of its checkpoints, and
 * its settings, in one HTML file. The curves are uPlot's, which the page carries along, so it needs no network.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { halved } from '../../train/log.ts'
import type { AnyTrainer, Row } from '../../train/index.ts'
import { escapeHtml, htmlPage, htmlTable } from './html.ts'
import type { RunDescription } from '../training/train-run.ts'
import { version } from '../version.ts'

export interface Curve {
  readonly title: string
  /** Logarithmic: everything is positive. */
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

export function trainPage({ title, trainer, run, curves = [], body = '' }: TrainPage): string {
  const {
    rows,
    step,
    history,
    options: { steps, batch },
  } = trainer
  const all = [...curves, ...curvesOf(rows, trainer.task.groups)]
  const settings = Object.entries(run).map(([key, value]) => [
    key,
    typeof value === 'string' ? value : JSON.stringify(value),
  ])
  const seen = `Step ${step} of ${steps}, ${(step * batch).toLocaleString('en')} images seen`
  const changed = history.map((change) => [`after step ${change.step}`, change.what])
  const changes = changed.length > 0 ? `<h2>Changes on the way</h2>${htmlTable(changed)}\n` : ''
  const quarters = 'q0 to q3 are quartiles of the timestep: q0 the least noise, q3 the most.'
  return htmlPage({
    title,
    body: `<p>${seen}${step < steps ? ': the run is not finished' : ''}.</p>
${all.map(({ title }, i) => `<h2>${escapeHtml(title)}</h2><div id="curve${i}"></div>`).join('\n')}
${body}
${changes}<h2>Settings</h2>
${htmlTable(settings)}
<style>${uPlotFile('uPlot.min.css')}</style>
<script>${uPlotFile('uPlot.iife.min.js')}</script>
<script>${drawing(all)}</script>`,
    footer: `tweedie ${escapeHtml(version())}. ${quarters}`,
  })
}

/** Most points of a curve: more are means of neighbours, for a page is 900 pixels wide. */
const mostPoints = 2000

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
    return { title: name, x, lines, log: lines.every((line) => line.y.every((value) => value === null || value > 0)) }
  })
}

const colours = ['#666', '#4878a8', '#3a9a5b', '#d98a1f', '#b8433a']

function drawing(curves: readonly Curve[]): string {
  const data = JSON.stringify(
    curves.map(({ x, log, lines }) => ({
      log,
      data: [x, ...lines.map(({ y }) => y)],
      names: lines.map(({ name }) => name),
    })),
  )
  // A name may hold "</script>".
  return `for (const [i, { log, data, names }] of ${data.replaceAll('<', '\\u003c')}.entries()) new uPlot({
  width: 900, height: 320, scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
  axes: [{ label: 'images seen', stroke: 'gray', grid: { stroke: '#8883' } }, { stroke: 'gray', grid: { stroke: '#8883' } }],
  series: [{ label: 'images' }, ...names.map((label, k) => ({ label, stroke: ${JSON.stringify(colours)}[k % ${colours.length}], width: k === 0 ? 2 : 1.2, points: { show: data[0].length < 30 } }))],
}, data, document.getElementById('curve' + i))`
}

const uPlotFile = (name: string): string =>
  readFileSync(join(dirname(createRequire(import.meta.url).resolve('uplot')), name), 'utf8')
