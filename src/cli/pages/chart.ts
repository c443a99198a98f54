/**
 * Charts as SVG in the page's text. Observable Plot draws them into linkedom's document, so neither a browser nor a
 * script is needed; colours are the page's variables, which follow light and dark. A chart is drawn 360 units wide and
 * fills a column of `.charts`, which is as wide or wider on every screen: its letters can be read on all.
 */
import type { Markish, PlotOptions } from '@observablehq/plot'
import { escapeHtml } from './html.ts'

const width = 360
/** Between the chart's edge and what it plots. */
const margins = { marginLeft: 58, marginRight: 16, marginTop: 26, marginBottom: 38 }

/** The page's colours; a seventh line has the first colour again, dashed. */
const colours = ['var(--c0)', 'var(--c1)', 'var(--c2)', 'var(--c3)', 'var(--c4)', 'var(--c5)']
const dashes = ['', '6 3', '2 3']

/** What a legend says of a line. */
interface Key {
  readonly name: string
  readonly style: number
}

/** How the k-th line of a chart is drawn; 0 is the grey of what the others are compared with. */
const lineStyle = (k: number): { stroke: string; strokeWidth: number; strokeDasharray?: string } => {
  const dash = dashes[Math.floor(k / colours.length) % dashes.length]
  return { stroke: colours[k % colours.length], strokeWidth: 1.5, ...(dash && { strokeDasharray: dash }) }
}

/** A name beside a short piece of its line. */
const key = ({ name, style }: Key): string => {
  const { stroke, strokeWidth, strokeDasharray } = lineStyle(style)
  const dash = strokeDasharray ? ` stroke-dasharray="${strokeDasharray}"` : ''
  return (
    `<span class="key"><svg viewBox="0 0 24 10" aria-hidden="true"><path d="M0 5H24" stroke="${stroke}"` +
    ` stroke-width="${2 * strokeWidth}"${dash}/></svg>${escapeHtml(name)}</span>`
  )
}

/** An axis: what it measures, and bounds where the values do not give them. */
export interface Axis {
  readonly label: string
  readonly domain?: readonly [number, number]
  /** Logarithmic, from the smallest value to the largest, which are positive. */
  readonly log?: readonly [number, number]
  /** About how many ticks it has. Default: 5, and 4 of an x axis. */
  readonly ticks?: number
}

/** 1, 2 and 5 times powers of ten within bounds; of more than three decades the powers alone. */
function logTicks([low, high]: readonly [number, number]): number[] {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))]
  const steps = last - first > 3 ? [1] : [1, 2, 5]
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => steps.map((step) => step * 10 ** (first + i))).flat()
  return ticks.filter((tick) => tick >= low && tick <= high)
}

/** Numbers as ticks have them: 250, 1.2M, 0.05, 2e-5. */
function tick(value: number): string {
  const size = Math.abs(value)
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`
  const rounded = Number(value.toPrecision(4))
  return size > 0 && size < 1e-3 ? rounded.toExponential() : String(rounded)
}

interface Chart {
  readonly title: string
  readonly keys?: readonly Key[]
  readonly x: Axis
  /** Null: the y axis measures nothing. */
  readonly y: Axis | null
  readonly options?: PlotOptions
  readonly marks: (plot: typeof import('./plot.ts')) => Markish[]
}

/** A chart of marks, with its title and the names of its lines above it. */
async function chart({ title, keys = [], x, y, options, marks }: Chart): Promise<string> {
  // Only who draws a page waits for it: 0.1 s.
  const plot = await import('./plot.ts')
  const { document } = plot.parseHTML('<!doctype html><html><body></body></html>')
  const axis = ({ label, domain, log, ticks }: Axis): object => ({
    label: label === '' ? null : label,
    tickFormat: tick,
    ticks: log ? logTicks(log) : ticks,
    ...(domain && { domain: [...domain] }),
    ...(log && { type: 'log' }),
  })
  const svg = plot.plot({
    document,
    width,
    height: 230,
    ...margins,
    x: axis({ ticks: 4, ...x }),
    y: y ? { ...axis({ ticks: 5, ...y }), grid: true } : { axis: null },
    ...options,
    marks: marks(plot),
  })
  // What it says of letters and sizes, the page says.
  svg.querySelector('style')?.remove()
  svg.setAttribute('role', 'img')
  svg.setAttribute('aria-label', title)
  const legend = keys.length > 1 ? `<div>${keys.map(key).join('')}</div>` : ''
  return `<figure><figcaption>${escapeHtml(title)}${legend}</figcaption>${rounded(svg.outerHTML)}</figure>`
}

/** Coordinates to a hundredth: a finer one is seen by nobody. Texts keep their digits. */
const rounded = (svg: string): string =>
  svg.replace(/ (?:d|transform|width|height|c?[xy][12]?)="[^"]*"/g, (attribute) =>
    attribute.replace(/\d+\.\d{3,}/g, (number) => String(Math.round(100 * Number(number)) / 100)),
  )

/** A line of a chart, with a gap where a value is null or no number. */
export interface Line {
  readonly name: string
  readonly x: readonly number[]
  readonly y: readonly (number | null)[]
  /** Of {@link lineStyle}: the same thing looks the same in every chart. Default: the line's place. */
  readonly style?: number
}

export interface LineChart {
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly lines: readonly Line[]
  /** The first line is filled: what the others are compared with. */
  readonly filled?: boolean
}

/** Few enough points that each is seen. */
const fewPoints = 30

/** Lines over a common axis; where they have few points, each is a dot too. */
export function lineChart({ title, x, y, lines, filled = false }: LineChart): Promise<string> {
  const keys = lines.map(({ name, style }, k) => ({ name, style: style ?? k }))
  return chart({
    title,
    keys,
    x,
    y,
    marks: (plot) =>
      lines.flatMap((line, k) => {
        const finite = (value: number | null | undefined): number => (Number.isFinite(value) ? (value as number) : NaN)
        const data = line.x.map((at, i) => [at, finite(line.y[i])] as const)
        const style = lineStyle(keys[k].style)
        return [
          ...(filled && k === 0 ? [plot.areaY(data, { x: '0', y: '1', fill: style.stroke, fillOpacity: 0.2 })] : []),
          plot.line(data, { x: '0', y: '1', ...style }),
          ...(data.length < fewPoints ? [plot.dot(data, { x: '0', y: '1', r: 2.5, fill: style.stroke })] : []),
        ]
      }),
  })
}

export interface Histogram {
  readonly title: string
  readonly x: Axis & { readonly domain: readonly [number, number] }
  readonly values: ArrayLike<number>
  readonly bins?: number
}

/** How many values fall into each of equally wide bins. */
export function histogram({ title, x, values, bins = 40 }: Histogram): Promise<string> {
  const [low, high] = x.domain
  // Equal values stand in the middle of an axis.
  const [from, to] = high > low ? [low, high] : [low - Math.abs(low || 1) / 2, low + Math.abs(low || 1) / 2]
  const counts = new Array<number>(bins).fill(0)
  for (let i = 0; i < values.length; i++)
    counts[Math.min(bins - 1, Math.floor(((values[i] - from) / (to - from)) * bins))]++
  const bars = counts.map((count, i) => ({
    x1: from + ((to - from) * i) / bins,
    x2: from + ((to - from) * (i + 1)) / bins,
    count,
  }))
  const marks: Chart['marks'] = (plot) => [
    plot.rectY(
      bars.filter(({ count }) => count > 0),
      { x1: 'x1', x2: 'x2', y: 'count', fill: 'var(--c1)', inset: 0, insetLeft: 0.5 },
    ),
    plot.ruleY([0]),
  ]
  return chart({
    title,
    x: { ...x, domain: [from, to] },
    y: { label: 'images', ticks: Math.min(5, Math.max(...counts)) },
    marks,
  })
}

/** A value and the bounds of its interval. */
export interface Interval {
  readonly name: string
  readonly value: number
  readonly low: number | null
  readonly high: number | null
  /** Of {@link lineStyle}. */
  readonly style: number
}

export interface IntervalChart {
  readonly title: string
  readonly rows: readonly Interval[]
  /** A dashed line to compare with. */
  readonly rule: number | null
}

/** Values one below another, each with its interval and, above it, its name. */
export function intervalChart({ title, rows, rule }: IntervalChart): Promise<string> {
  const known = [...rows.flatMap(({ value, low, high }) => [value, low ?? value, high ?? value]), rule ?? NaN].filter(
    Number.isFinite,
  )
  const [least, most] = [Math.min(...known), Math.max(...known)]
  const room = 0.05 * (most - least) || 0.05 * Math.abs(most) || 1
  const domain = [least - room, most + room] as const
  const y = { axis: null, domain: [rows.length, 0] as number[] } as const
  const options = { height: 40 + 34 * rows.length, marginTop: 4, marginBottom: 26, marginLeft: 16, y }
  return chart({
    title,
    x: { label: '', domain },
    y: null,
    options,
    marks: (plot) => [
      ...(rule === null ? [] : [plot.ruleX([rule], { stroke: 'var(--c0)', strokeDasharray: '4 3' })]),
      ...rows.flatMap((row, k) => {
        const [data, style] = [[{ ...row, at: k + 0.75 }], lineStyle(row.style)]
        return [
          plot.ruleY(data, { y: 'at', stroke: 'currentColor', strokeOpacity: 0.1 }),
          ...(row.low === null || row.high === null
            ? []
            : [plot.ruleY(data, { x1: 'low', x2: 'high', y: 'at', ...style })]),
          plot.dot(data, { x: 'value', y: 'at', r: 4, fill: style.stroke }),
          // With a rim in the page's colour: the dashed line may run through it.
          plot.text(data, {
            y: 'at',
            text: 'name',
            dy: -12,
            frameAnchor: 'left',
            fill: 'currentColor',
            stroke: 'var(--back)',
            strokeWidth: 4,
          }),
        ]
      }),
    ],
  })
}
