/** What a bench found: a file with a version, a table for people, and two files side by side. */
import { TweedieError } from '../errors.ts'
import { version } from '../version.ts'
import {
  aBoolean,
  aCount,
  aNumber,
  anyOf,
  aText,
  fieldsOf,
  listOf,
  oneOf,
  optional,
  valuesOf,
  type Check,
} from '../io/json.ts'
import type { Device } from '../tensor/index.ts'
import type { FailedRow, KernelRow } from './kernels.ts'
import type { NetworkRow } from './networks.ts'
import type { Peaks } from './peaks.ts'

export type Row = KernelRow | NetworkRow | FailedRow

/** docs/formats.md, "What a bench found". */
export interface BenchReport {
  readonly program: 'tweedie'
  readonly kind: 'bench'
  /** Of the format. */
  readonly version: 1
  /** The program's. */
  readonly tweedie: string
  /** ISO 8601, UTC. */
  readonly date: string
  readonly backend: 'webgpu' | 'cpu'
  readonly adapter: string
  readonly vendor: string
  readonly architecture: string
  /** Computed by the CPU: no figure here is a GPU's. */
  readonly software: boolean
  readonly features: readonly string[]
  readonly limits: Readonly<Record<string, number>>
  /** Node's version, or the browser's words for itself. */
  readonly host: string
  readonly peaks: Peaks | null
  readonly rows: readonly Row[]
  /** The fastest variant by shape, as `Device.kernels` names them. */
  readonly winners: Readonly<Record<string, string>>
}

const limitNames = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupsPerDimension',
] as const

export function newReport(device: Device, host: string): BenchReport {
  const gpu = device.backend.gpu?.gpuDevice
  return {
    program: 'tweedie',
    kind: 'bench',
    version: 1,
    tweedie: version,
    date: new Date().toISOString(),
    backend: device.backend.kind,
    adapter: device.adapter.name,
    vendor: device.adapter.vendor,
    architecture: device.adapter.architecture,
    software: device.adapter.software,
    features: gpu ? [...gpu.features].sort() : [],
    limits: gpu ? Object.fromEntries(limitNames.map((name) => [name, gpu.limits[name]])) : {},
    host,
    peaks: null,
    rows: [],
    winners: {},
  }
}

const aPositive: Check = (value, path) =>
  aNumber(value, path) ?? ((value as number) > 0 ? undefined : `${path}: expected more than 0, found ${String(value)}`)
const timing = { ms: aPositive, low: aNumber, high: aNumber, samples: aCount, chained: aCount, unsteady: aBoolean }
const work = { flops: aNumber, bytes: aNumber, dispatches: aCount, right: aBoolean }
const kernelNames = { group: aText, op: aText, shape: aText, variant: aText }
// What is optional came later than the first files.
const rowKinds: Readonly<Record<Row['kind'], Check>> = {
  kernel: fieldsOf({
    ...kernelNames,
    ...timing,
    ...work,
    choice: anyOf(oneOf(null), aText),
    isDefault: aBoolean,
    isBest: aBoolean,
    isTuned: optional(aBoolean),
    recorded: optional(aBoolean),
    hostMs: optional(aNumber),
    error: anyOf(oneOf(null), aNumber),
  }),
  network: fieldsOf({
    ...timing,
    ...work,
    network: aText,
    pass: aText,
    batch: aCount,
    submits: aCount,
    gpuMs: anyOf(oneOf(null), aNumber),
    hostMs: aNumber,
    peakBytes: aNumber,
    recorded: aBoolean,
  }),
  failed: fieldsOf({ ...kernelNames, message: aText }),
}
const aRow: Check = (value, path) =>
  fieldsOf({ kind: oneOf('kernel', 'network', 'failed') })(value, path) ?? rowKinds[(value as Row).kind](value, path)
const aReport = fieldsOf({
  program: oneOf('tweedie'),
  kind: oneOf('bench'),
  version: oneOf(1),
  tweedie: aText,
  date: aText,
  backend: oneOf('webgpu', 'cpu'),
  adapter: aText,
  vendor: aText,
  architecture: aText,
  software: aBoolean,
  features: listOf(aText),
  limits: valuesOf(aNumber),
  host: aText,
  peaks: anyOf(
    oneOf(null),
    fieldsOf({
      flops: aPositive,
      halfFlops: anyOf(oneOf(null), aPositive),
      read: aPositive,
      copy: aPositive,
      workgroupRead: optional(anyOf(oneOf(null), aPositive)),
      dispatchMicroseconds: aPositive,
      barrierMicroseconds: aPositive,
      hostMicroseconds: aNumber,
      submitMicroseconds: optional(anyOf(oneOf(null), aPositive)),
      waitMilliseconds: aNumber,
      readMilliseconds: aNumber,
    }),
  ),
  rows: listOf(aRow),
  winners: valuesOf(aText),
})

/** What was read as a report. @throws TweedieError 'format' for anything else */
export function checkReport(value: unknown, name: string): BenchReport {
  const wrong = aReport(value, '')
  if (wrong !== undefined)
    throw new TweedieError('format', `${name}: this is no report of tweedie bench --json, version 1: ${wrong}.`)
  const { peaks, rows, ...report } = value as BenchReport
  const later = { isTuned: false, recorded: false, hostMs: 0 }
  return {
    ...report,
    peaks: peaks && {
      ...peaks,
      workgroupRead: peaks.workgroupRead ?? null,
      submitMicroseconds: peaks.submitMicroseconds ?? null,
    },
    rows: rows.map((row) => (row.kind === 'kernel' ? { ...later, ...row, error: row.error ?? Infinity } : row)),
  }
}

/** Whether a GPU's kernels were computed by a CPU: such figures say nothing of GPUs. */
export const onSoftwareAdapter = ({ backend, software }: Pick<BenchReport, 'backend' | 'software'>): boolean =>
  backend === 'webgpu' && software

/** The name of a row, the same in every report. */
export const nameOf = (row: Row): string =>
  row.kind === 'network'
    ? `${row.network} ${row.pass}, batch ${row.batch}${row.recorded ? ', recorded' : ''}`
    : `${row.op}, ${row.shape}${row.variant === 'only' ? '' : `: ${row.variant}`}` +
      (row.kind === 'kernel' && row.recorded ? ', recorded' : '')

/** The report with these rows, and the fastest variants among them. */
export function withRows(report: BenchReport, rows: readonly Row[]): BenchReport {
  const winners = rows.flatMap((row) =>
    row.kind === 'kernel' && row.choice !== null && row.isBest && row.right && !row.recorded
      ? [[row.choice, row.variant]]
      : [],
  )
  return { ...report, rows, winners: Object.fromEntries(winners) as BenchReport['winners'] }
}

/** The least milliseconds that the peaks allow: for its arithmetic, or for its bytes touched once. */
export const floorOf = ({ flops, bytes }: { readonly flops: number; readonly bytes: number }, peaks: Peaks): number =>
  1e3 * Math.max(flops / peaks.flops, bytes / peaks.copy)

/** For people: who computed. */
export function headOf(report: BenchReport): string {
  const { adapter, host, date } = report
  const note = onSoftwareAdapter(report) ? ' (SOFTWARE: computed by the CPU, no GPU figures)' : ''
  return `${adapter}${note}; ${host}; ${date.slice(0, 16)}Z`
}

/** Whether its time is that of its dispatches, less than half of which the work itself can have taken. */
export const launchBound = (row: Exclude<Row, FailedRow>, peaks: Peaks): boolean =>
  row.kind === 'kernel' && row.ms * 1e3 < 2 * row.dispatches * peaks.dispatchMicroseconds

/** For people: what the device reaches. */
export function peakLines(peaks: Peaks, features: readonly string[] = []): string[] {
  const giga = (n: number): string => (n / 1e9).toFixed(n < 1e10 ? 2 : 0)
  const us = (n: number): string => n.toFixed(2)
  const { halfFlops, workgroupRead, submitMicroseconds } = peaks
  const matrices = features.some((name) => name.includes('subgroup-matrix'))
    ? 'has subgroup matrices, which no kernel here uses: not measured'
    : 'no subgroup matrices on this device'
  return [
    `multiply-adds ${giga(peaks.flops)} GFLOP/s${halfFlops === null ? '' : `, in 16 bits ${giga(halfFlops)}`}; ` +
      `read ${giga(peaks.read)} GB/s, copy ${giga(peaks.copy)} GB/s` +
      (workgroupRead === null ? '' : `, of workgroup memory ${giga(workgroupRead)} GB/s`) +
      (submitMicroseconds === null ? '' : `; ${matrices}`),
    `a dispatch ${us(peaks.dispatchMicroseconds)} µs, behind another ${us(peaks.barrierMicroseconds)} µs, for the host ` +
      `${us(peaks.hostMicroseconds)} µs; ${submitMicroseconds === null ? '' : `a submission ${us(submitMicroseconds)} µs; `}` +
      `a wait ${peaks.waitMilliseconds.toFixed(3)} ms, a read ${peaks.readMilliseconds.toFixed(3)} ms`,
  ]
}

/** Of the columns of {@link cellsOf}. */
export const heads = ['ms', 'quartiles', 'GFLOP/s', 'GB/s', '% of peak', 'error', ''] as const

/** The columns of a row, as the table has them. */
export function cellsOf(row: Row, peaks: Peaks | null): string[] {
  if (row.kind === 'failed') return ['', '', '', '', '', '', row.message.split('\n')[0]]
  const digits = row.ms < 10 ? 3 : 1
  const notes =
    row.kind === 'kernel'
      ? [
          row.right ? '' : 'WRONG',
          row.isDefault && !row.recorded ? 'default' : '',
          row.isTuned ? 'tuned' : '',
          row.isBest ? 'fastest' : '',
          peaks && launchBound(row, peaks) ? 'launch-bound' : '',
          row.hostMs > 0 ? `host ${(1e3 * row.hostMs).toFixed(row.hostMs < 0.01 ? 1 : 0)} µs` : '',
        ]
      : [
          row.right ? '' : 'WRONG',
          `${((1e3 * row.batch) / row.ms).toPrecision(3)} images/s`,
          `${row.dispatches} dispatches, ${row.submits} submits`,
          row.gpuMs === null ? '' : `GPU ${row.gpuMs.toFixed(row.gpuMs < 10 ? 2 : 0)} ms`,
          `host ${row.hostMs.toFixed(1)} ms`,
          `${Math.round(row.peakBytes / 2 ** 20)} MiB`,
        ]
  return [
    row.ms.toFixed(digits),
    `${row.low.toFixed(digits)}-${row.high.toFixed(digits)}`,
    row.flops > 0 ? (row.flops / row.ms / 1e6).toFixed(1) : '',
    (row.bytes / row.ms / 1e6).toFixed(1),
    peaks ? ((100 * floorOf(row, peaks)) / row.ms).toFixed(1) : '',
    row.kind === 'kernel' ? row.error.toExponential(0) : '',
    [...notes, row.unsteady ? 'unsteady' : ''].filter(Boolean).join(', '),
  ]
}

/** Lines of a table with columns below each other. */
export function tableOf(rows: readonly Row[], peaks: Peaks | null): string[] {
  const lines = [['', ...heads], ...rows.map((row) => [nameOf(row), ...cellsOf(row, peaks)])]
  const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)))
  return lines.map((line) =>
    line
      .map((cell, i) => (i === 0 || i === line.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  )
}

/** The same as Markdown. */
export function markdownOf(rows: readonly Row[], peaks: Peaks | null): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const body = rows.map((row) => line([nameOf(row), ...cellsOf(row, peaks)].map((cell) => cell.replaceAll('|', '\\|'))))
  return [line(['', ...heads]), line(['---', ...heads.map((_, i) => (i < 6 ? '--:' : '---'))]), ...body].join('\n')
}

/** Rows that two reports share, the second's time as a multiple of the first's. */
export function compareReports(a: BenchReport, b: BenchReport): string[] {
  const timed = (report: BenchReport): Map<string, KernelRow | NetworkRow> =>
    new Map(report.rows.flatMap((row) => (row.kind === 'failed' ? [] : [[nameOf(row), row] as const])))
  const [first, second] = [timed(a), timed(b)]
  const shared = [...first].flatMap(([name, row]) => {
    const other = second.get(name)
    if (!other) return []
    // Where the quartiles overlap nobody knows which is faster.
    const apart = row.high < other.low || other.high < row.low
    return [[name, row.ms.toFixed(3), other.ms.toFixed(3), `${(other.ms / row.ms).toFixed(2)}${apart ? '' : ' ~'}`]]
  })
  const lines = [['', 'A ms', 'B ms', 'B / A'], ...shared]
  const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)))
  const only = (mine: Map<string, unknown>, others: Map<string, unknown>): number =>
    [...mine.keys()].filter((name) => !others.has(name)).length
  return [
    `A: ${headOf(a)}`,
    `B: ${headOf(b)}`,
    ...(a.adapter === b.adapter ? [] : ['These are two devices: the ratio says nothing about the program.']),
    '',
    ...lines.map((line) => line.map((c, i) => (i === 0 ? c.padEnd(widths[i]) : c.padStart(widths[i]))).join('  ')),
    '',
    `~: the quartiles overlap. Only in A: ${only(first, second)} rows; only in B: ${only(second, first)}.`,
  ]
}
