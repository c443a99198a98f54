/**
 * The report of a run: one HTML file with everything inside, readable without a network and without scripts. Samples
 * stand in the order of drawing or of their minority score, which a switch in plain CSS chooses.
 */
import { parse } from 'node:path'
import { escapeHtml } from './html.ts'
import type { RunRecord } from './run-record.ts'

export interface ReportSample {
  readonly png: Uint8Array
  readonly score: number
  readonly label?: number
  /** What each guidance led it to, where that is the sample's own. */
  readonly targets?: Readonly<Record<string, number | string>>
  /** The small picture it was made from, of two stages. */
  readonly base?: Uint8Array
}

export interface ReportRun {
  readonly name: string
  readonly record: RunRecord
  /** "L2", "LPIPS (alex)". */
  readonly distance: string
  readonly samples: readonly ReportSample[]
}

export interface ReportOptions {
  readonly title: string
  readonly intro: string
  /** Side of a picture, for enlarging small ones. */
  readonly side: number
}

/** Several runs have the same samples: each card shows one sample of every run side by side. */
export function report(runs: readonly ReportRun[], { title, intro, side }: ReportOptions): string {
  const count = runs[0]?.samples.length ?? 0
  const last = runs.at(-1)?.samples ?? []
  const order = [...last.keys()].sort((a, b) => (last[b]?.score ?? 0) - (last[a]?.score ?? 0))
  const rank = new Map(order.map((k, i) => [k, i]))
  const cards = Array.from({ length: count }, (_, k) => card(runs, k, rank.get(k) ?? k, Math.max(1, Math.floor(128 / side)) * side))
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(intro)}</p>
${adapterLine(runs)}
${means(runs)}
<input type="checkbox" id="sorted"><label for="sorted">rarest first${runs.length > 1 ? `, by ${escapeHtml(runs.at(-1)?.name ?? '')}` : ''}</label>
<main>${cards.join('\n')}</main>
<h2>Settings</h2>
${settings(runs)}
${differences(runs)}
<h2>Timings</h2>
${timings(runs)}
<footer>tweedie ${escapeHtml(runs[0]?.record.version ?? '')}. The score is the minority score of Um et al. (ICLR 2024): the distance of an image from what the model makes of it after noise; higher is rarer.</footer>
</html>
`
}

const style = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
main { display: flex; flex-wrap: wrap; gap: 12px; margin: 1rem 0 }
.card { display: flex; gap: 4px; padding: 6px; border: 1px solid #ddd; border-radius: 6px; order: var(--index) }
#sorted:checked ~ main .card { order: var(--rank) }
#sorted { margin-right: .5em }
figure { margin: 0 } figure div { display: flex; gap: 2px; align-items: end }
img { display: block; image-rendering: pixelated }
figcaption { font-size: 12px; color: #555; font-variant-numeric: tabular-nums }
table { border-collapse: collapse }
td, th { text-align: left; padding: 2px 16px 2px 0; vertical-align: top; border-bottom: 1px solid #eee; overflow-wrap: anywhere }
th { font-weight: 600 }
.note { background: #fff6d6; padding: .4em .8em; border-radius: 6px }
footer { margin-top: 2rem; color: #666; font-size: 13px }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #1b1b1b } .card, td, th { border-color: #444 } figcaption, footer { color: #aaa } .note { background: #4a3f10 }
}`

function card(runs: readonly ReportRun[], k: number, rank: number, pixels: number): string {
  const figures = runs.map(({ name, samples }) => {
    const { png, score, label, targets = {}, base } = samples[k] as ReportSample
    const led = Object.entries(targets).map(([guidance, target]) => `, ${targetNames[guidance] ?? guidance} ${target}`).join('')
    const caption = `${runs.length > 1 ? `${escapeHtml(name)}<br>` : ''}${k}${label === undefined ? '' : `, class ${label}`}${escapeHtml(led)}: ${score.toPrecision(4)}`
    const picture = (bytes: Uint8Array, side: number, what: string): string => `<img width="${side}" height="${side}" alt="${what} ${k}, ${escapeHtml(name)}" src="data:image/png;base64,${Buffer.from(bytes).toString('base64')}">`
    return `<figure><div>${picture(png, pixels, 'sample')}${base ? picture(base, pixels / 4, 'small') : ''}</div><figcaption>${caption}</figcaption></figure>`
  })
  return `<div class="card" style="--index:${k};--rank:${rank}">${figures.join('')}</div>`
}

/** How a caption calls what a guidance led a sample to. */
const targetNames: Readonly<Record<string, string>> = { minority: 'level' }

const unique = (values: readonly string[]): string[] => [...new Set(values)]

function adapterLine(runs: readonly ReportRun[]): string {
  return unique(runs.map(({ record: { adapter: { backend, name, software } } }) => software && backend === 'webgpu'
    ? `<p class="note">Computed on ${escapeHtml(name)}, a software adapter: the CPU. The pictures are right; the times are no measure of a GPU.</p>`
    : `<p>Computed on ${escapeHtml(name)}.</p>`)).join('\n')
}

export const meanScore = ({ samples }: Pick<ReportRun, 'samples'>): number => samples.reduce((sum, { score }) => sum + score, 0) / samples.length

function means(runs: readonly ReportRun[]): string {
  return `<p>Mean minority score (${escapeHtml(unique(runs.map(({ distance }) => distance)).join(', '))}): ${runs.map((run) => `${runs.length > 1 ? `${escapeHtml(run.name)} ` : ''}<b>${meanScore(run).toPrecision(4)}</b>`).join(', ')}.</p>`
}

/** One row an option; one column where all runs agree. */
function settings(runs: readonly ReportRun[]): string {
  const keys = unique(runs.flatMap(({ record }) => Object.keys(record.options))).filter((key) => key !== 'out' && key !== 'save')
  const shown = ({ record: { options, sha256 } }: ReportRun, key: string): string => {
    const value = options[key]
    if (value === undefined) return ''
    const sum = sha256[key]
    return escapeHtml(sum === undefined ? String(value) : `${parse(String(value)).base} (sha256 ${sum.slice(0, 16)}…)`)
  }
  const rows = keys.map((key) => `<tr><th>${escapeHtml(key)}</th>${runs.map((run) => `<td>${shown(run, key)}</td>`).join('')}</tr>`)
  return `<table>${heads(runs)}${rows.join('')}</table>`
}

/** What is not as it was published. */
function differences(runs: readonly ReportRun[]): string {
  const items = runs.flatMap(({ name, record: { differs = [] } }) => differs.map((one) => `<li>${escapeHtml(runs.length > 1 ? `${name}: ${one}` : one)}</li>`))
  return items.length === 0 ? '' : `<h3>Not as published</h3><ul>${items.join('')}</ul>`
}

const heads = (runs: readonly ReportRun[]): string => runs.length > 1 ? `<tr><th></th>${runs.map(({ name }) => `<th>${escapeHtml(name)}</th>`).join('')}</tr>` : ''

function timings(runs: readonly ReportRun[]): string {
  const total = (run: ReportRun, pick: (batch: RunRecord['seconds']['batches'][number]) => number): number => run.record.seconds.batches.reduce((sum, batch) => sum + pick(batch), 0)
  const rows: [string, (run: ReportRun) => string][] = [
    ['started', ({ record }) => record.started],
    ['device and weights', ({ record }) => `${record.seconds.load.toFixed(1)} s`],
    ['sampling', (run) => `${total(run, ({ seconds }) => seconds).toFixed(1)} s`],
    ['of which first steps, kernels being compiled', (run) => `${total(run, ({ firstStep }) => firstStep).toFixed(1)} s`],
    ['a sample', (run) => `${(total(run, ({ seconds }) => seconds) / run.samples.length).toFixed(2)} s`],
    ...(runs.some(({ record }) => record.seconds.batches.some(({ upsampling }) => upsampling !== undefined))
      ? [['second stage', (run) => `${total(run, ({ upsampling = 0 }) => upsampling).toFixed(1)} s`] as [string, (run: ReportRun) => string]] : []),
    ['minority scores', (run) => `${total(run, ({ scoring }) => scoring).toFixed(1)} s`],
  ]
  return `<table>${heads(runs)}${rows.map(([name, value]) => `<tr><th>${name}</th>${runs.map((run) => `<td>${escapeHtml(value(run))}</td>`).join('')}</tr>`).join('')}</table>`
}
