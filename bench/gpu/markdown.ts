/** What measure.ts found, for people: measure.md. All of it is in measure.json. */
import { markdownOf, peakLines, type KernelRow, type Peaks, type Row } from '../../src/bench/index.ts'

/** A stage and what it said. */
export interface Found {
  stage: string
  seconds: number
  /** How it ended, where it did not end by itself. */
  trouble: string | null
  rows: Told[]
}
/** A row of a stage. */
export type Told = Record<string, unknown>

export const isRow = (row: Told): boolean => ['kernel', 'network', 'failed'].includes(row.kind as string)

export function peaksOf(found: readonly Found[]): Peaks | null {
  const row = found.flatMap(({ rows }) => rows).find(({ kind }) => kind === 'peaks')
  return (row as unknown as Peaks | undefined) ?? null
}

export function markdown(head: Told, found: readonly Found[]): string {
  const peaks = peaksOf(found)
  const words = Object.entries(head).map(([key, value]) => `- ${key}: ${String(value)}`)
  const sections = found.map(({ stage, seconds, trouble, rows }) => {
    const timed = (rows.filter(isRow) as unknown as Row[]).filter(isTold)
    const notes = noted(rows)
    return [
      `## ${stage}`,
      `${seconds.toFixed(1)} s${trouble ? `; ${trouble}` : ''}`,
      ...(rows.some(({ kind }) => kind === 'peaks') && peaks ? peakLines(peaks) : []),
      ...(timed.length > 0 ? [markdownOf(timed, peaks)] : []),
      ...rows.filter(({ kind }) => kind === 'profile').map((row) => profileOf(row as unknown as Profile)),
      ...(notes.length > 0 ? [['```', ...notes, '```'].join('\n')] : []),
    ].join('\n\n')
  })
  return `${['# A GPU, measured', words.join('\n'), ...sections, ratios(found)].join('\n\n')}\n`
}

/** Of a kernel's variants the usual one, the best, and those that are wrong or failed. */
const isTold = (row: Row): boolean =>
  row.kind !== 'kernel' || ((row as KernelRow).isDefault && !row.recorded) || row.isBest || !row.right

/** What has no table: failures, sums of what went well, and short rows as they are. */
function noted(rows: readonly Told[]): string[] {
  const checked = rows.filter(({ kind }) => kind === 'checked')
  const wrong = checked.filter(({ right }) => right !== true)
  const tests = rows.flatMap(({ kind, line, words, seconds }) =>
    kind !== 'tests'
      ? []
      : words === undefined
        ? [String(line)]
        : [`tests ${String(words)}: ${Number(seconds).toFixed(1)} s`],
  )
  const known = ['checked', 'tests', 'peaks', 'report', 'profile', 'winners']
  const others = rows.filter(
    (row) =>
      !isRow(row) && !known.includes(row.kind as string) && !(row.kind === 'torch' && typeof row.ms === 'number'),
  )
  return [
    ...(checked.length > 0 ? [`${checked.length - wrong.length} of ${checked.length} variants are right`] : []),
    // Of tests that failed the file's own line says how many.
    ...tests.filter((line) => !/^✗ .* > /.test(line)),
    ...[...wrong, ...others].map((row) => JSON.stringify(row)),
  ]
}

/** A row of the stage `profile`. */
export interface Profile {
  readonly network: string
  readonly pass: string
  readonly batch: number
  readonly ms: number
  readonly kinds: readonly {
    readonly op: string
    readonly shapes: string
    readonly kernel: string
    readonly grid: string
    readonly count: number
    readonly ms: number
    readonly flops: number
  }[]
}

/** Where the time of a pass goes, by kernel, and the 12 kinds of dispatches that take longest. */
function profileOf({ network, pass, batch, ms, kinds }: Profile): string {
  const byKernel = new Map<string, { ms: number; count: number }>()
  for (const kind of kinds) {
    const name = `${kind.op}: ${kind.kernel.split(/ [{\d]/)[0]}`
    const one = byKernel.get(name) ?? { ms: 0, count: 0 }
    byKernel.set(name, { ms: one.ms + kind.ms, count: one.count + kind.count })
  }
  const share = (part: number): string => ((100 * part) / ms).toFixed(1)
  return [
    `### ${network} ${pass}, batch ${batch}: ${ms.toFixed(2)} ms in all dispatches\n`,
    '| ms | % | times | us each | op: kernel |',
    '| --: | --: | --: | --: | --- |',
    ...[...byKernel]
      .sort(([, a], [, b]) => b.ms - a.ms)
      .slice(0, 16)
      .map(
        ([name, one]) =>
          `| ${one.ms.toFixed(3)} | ${share(one.ms)} | ${one.count} | ${((1e3 * one.ms) / one.count).toFixed(1)} | ${name} |`,
      ),
    '\n| ms | times | us each | TFLOP/s | op | shapes | kernel | grid |',
    '| --: | --: | --: | --: | --- | --- | --- | --- |',
    ...kinds.slice(0, 12).map((kind) => {
      const each = (1e3 * kind.ms) / kind.count
      const rate = kind.flops > 0 ? (kind.flops / kind.ms / 1e9).toFixed(1) : ''
      const name = kind.kernel.replaceAll('"', '').replaceAll('|', '/').slice(0, 90)
      return `| ${kind.ms.toFixed(3)} | ${kind.count} | ${each.toFixed(1)} | ${rate} | ${kind.op} | ${kind.shapes} | ${name} | ${kind.grid} |`
    }),
  ].join('\n')
}

/** Ours beside PyTorch's, of the same run on the same card. */
function ratios(found: readonly Found[]): string {
  const rows = found.flatMap((one) => one.rows)
  const theirs = rows.filter(({ kind, ms }) => kind === 'torch' && typeof ms === 'number')
  const ours = rows.filter(({ kind }) => kind === 'network')
  const lines = theirs.flatMap((their) => {
    const { network, pass, batch, mode } = their
    const names = [network, `${String(network)}, tuned`]
    const same = ours.filter((row) => names.includes(row.network) && row.pass === pass && row.batch === batch)
    return same.map((our) => {
      const [theirMs, ourMs] = [their.ms as number, our.ms as number]
      const what = `${String(our.network)} ${String(pass)}, batch ${String(batch)}${our.recorded ? ', recorded' : ''}`
      return (
        `| ${what} | ${String(mode)} | ${theirMs.toFixed(2)} | ${ourMs.toFixed(2)} | ` +
        `${(theirMs / ourMs).toFixed(2)} |`
      )
    })
  })
  if (lines.length === 0) return ''
  return ['## PyTorch', '| pass | mode | PyTorch ms | ours ms | PyTorch / ours |', '| --- | --- | --: | --: | --: |']
    .concat(lines)
    .join('\n')
}
