/** The roofline: what each kernel reached, by its arithmetic for each byte, below what the device reaches at most. */
import type { BenchReport } from './report.ts'
import { headOf, launchBound, nameOf } from './report.ts'

const [width, height] = [760, 460]
const margin = { left: 70, right: 20, top: 50, bottom: 50 }

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => `&#${(c.codePointAt(0) as number).toString()};`)

const sizeText = (bytes: number): string => {
  const [unit, name] = bytes < 1e6 ? [1e3, 'kB'] : [1e6, 'MB']
  return `${Number((bytes / unit).toPrecision(2))} ${name}`
}

/** An SVG of both axes in decades; hovering over a point says what it is. Null where nothing has arithmetic. */
export function rooflineSvg(report: BenchReport): string | null {
  const { peaks, rows } = report
  const points = rows.flatMap((row) =>
    row.kind === 'failed' || !(row.flops > 0) || !(row.bytes > 0)
      ? []
      : [{ row, intensity: row.flops / row.bytes, rate: row.flops / row.ms / 1e6 }],
  )
  if (!peaks || points.length === 0) return null
  const top = peaks.flops / 1e9
  const bandwidth = peaks.copy / 1e9
  // Whoever makes a link may write any number into it.
  const decades = (values: readonly number[]): [number, number] => [
    Math.max(-6, Math.floor(Math.log10(Math.min(...values)))),
    Math.min(12, Math.ceil(Math.log10(Math.max(...values)))),
  ]
  const [x0, x1] = decades([...points.map((p) => p.intensity), top / bandwidth, 1])
  const [y0, y1] = decades([...points.map((p) => p.rate), top])
  const x = (value: number): number =>
    margin.left + ((Math.log10(value) - x0) / (x1 - x0)) * (width - margin.left - margin.right)
  const y = (value: number): number =>
    height - margin.bottom - ((Math.log10(value) - y0) / (y1 - y0)) * (height - margin.top - margin.bottom)
  const roof = (intensity: number): number => Math.max(10 ** y0, Math.min(top, bandwidth * intensity))
  const corners = [10 ** x0, top / bandwidth, 10 ** x1].map((v) => `${x(v).toFixed(1)},${y(roof(v)).toFixed(1)}`)
  // What the least of them would reach if it only had to be dispatched: what lies near it waits for no arithmetic.
  const fewest = Math.min(...points.map(({ row }) => row.bytes))
  const launched = (intensity: number): number => (intensity * fewest) / peaks.dispatchMicroseconds / 1e3
  const [plotWidth, plotHeight] = [width - margin.left - margin.right, height - margin.top - margin.bottom]
  const box = `x="${margin.left}" y="${margin.top}" width="${plotWidth}" height="${plotHeight}"`
  const [from, to] = [10 ** x0, 10 ** x1].map((v) => [x(v).toFixed(1), y(launched(v)).toFixed(1)])
  const launch =
    `<svg ${box} viewBox="${margin.left} ${margin.top} ${plotWidth} ${plotHeight}">` +
    `<line x1="${from[0]}" y1="${from[1]}" x2="${to[0]}" y2="${to[1]}" class="launch"/></svg>` +
    `<text x="${width - margin.right}" y="${margin.top - 8}" text-anchor="end">dashed: ${sizeText(fewest)} in one ` +
    `empty dispatch of ${Number(peaks.dispatchMicroseconds.toPrecision(2))} µs; hollow: launch-bound</text>`
  const ticks = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)
  const said = (power: number): string => (power < -2 || power > 4 ? `1e${power}` : String(10 ** power))
  const parts = [
    ...ticks(x0, x1).map(
      (p) =>
        `<line x1="${x(10 ** p)}" x2="${x(10 ** p)}" y1="${margin.top}" y2="${height - margin.bottom}" class="grid"/>` +
        `<text x="${x(10 ** p)}" y="${height - margin.bottom + 18}" text-anchor="middle">${said(p)}</text>`,
    ),
    ...ticks(y0, y1).map(
      (p) =>
        `<line x1="${margin.left}" x2="${width - margin.right}" y1="${y(10 ** p)}" y2="${y(10 ** p)}" class="grid"/>` +
        `<text x="${margin.left - 8}" y="${y(10 ** p) + 4}" text-anchor="end">${said(p)}</text>`,
    ),
    `<polyline points="${corners.join(' ')}" class="roof"/>`,
    launch,
    ...points.map(({ row, intensity, rate }) => {
      const kind = row.kind === 'network' ? 'network' : row.isBest ? 'best' : 'other'
      const bound = launchBound(row, peaks)
      const what = bound ? `${kind} bound` : kind
      const title = `${nameOf(row)}: ${rate.toFixed(1)} GFLOP/s${bound ? ', launch-bound' : ''}`
      const place = `cx="${x(intensity).toFixed(1)}" cy="${y(rate).toFixed(1)}"`
      return `<circle ${place} r="4" class="${what}"><title>${escaped(title)}</title></circle>`
    }),
    `<text x="${width / 2}" y="${height - 10}" text-anchor="middle">FLOP for each byte touched</text>`,
    `<text x="16" y="${height / 2}" text-anchor="middle" transform="rotate(-90 16 ${height / 2})">GFLOP/s</text>`,
    `<text x="${margin.left}" y="24">${escaped(headOf(report))}</text>`,
  ]
  const style =
    'text{font:12px sans-serif;fill:currentColor}.grid{stroke:currentColor;opacity:.15}' +
    '.roof{fill:none;stroke:currentColor;stroke-width:2}.best{fill:#1b7f4d}.other{fill:#b0b0b0}.network{fill:#2b5fb3}' +
    '.launch{stroke:currentColor;stroke-dasharray:5 4;opacity:.6}.bound{fill-opacity:.25;stroke:currentColor}'
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" ` +
    `aria-label="Roofline: GFLOP/s by FLOP for each byte"><style>${style}</style>${parts.join('')}</svg>\n`
  )
}
