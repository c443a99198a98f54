/**
 * Everything that a GPU, where one is at hand for some minutes, is to tell: one call, each stage a process of its own
 * with its own share of the time, so that what hangs, throws or loses the device ends one stage. What is found is
 * written as it is found.
 *
 *     bench/gpu/bundle.sh                                                 here; fills .gpu/
 *     . .gpu/env.sh && node .gpu/measure.mjs --out $OUT --seconds 450     there
 *     . .gpu/env.sh && node .gpu/measure.mjs --out /tmp/out --tiny        a rehearsal on any driver, some 20 s
 *
 * --only a,b   these stages alone
 * --networks a,b, --batches a,b   these alone (toy, adm-64); --ops REGEX   these kernels alone
 * --torch P    the Python that has torch; default python3, and the stage says so where it has none
 *
 * In OUT: measure.json (rows of all stages, appended to), measure.md (for people), measure.log (what the stages said),
 * and report.json, which `tweedie bench --compare` reads.
 */
import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { markdownOf, peakLines, withRows, type BenchReport, type Peaks, type Row } from '../../src/bench/index.ts'
import { stages, type Emit, type Plan } from './stages.ts'

const argv = process.argv.slice(2)
const valueOf = (name: string): string | undefined => {
  const at = argv.indexOf(`--${name}`)
  return at < 0 ? undefined : argv[at + 1]
}
const self = fileURLToPath(import.meta.url)
const tiny = argv.includes('--tiny')
const stage = valueOf('stage')
const plan: Plan = {
  tiny,
  seconds: Number(valueOf('budget') ?? 60),
  folder: valueOf('folder') ?? '',
  torch: valueOf('torch') ?? 'python3',
  networks: valueOf('networks')?.split(',') ?? null,
  batches: valueOf('batches')?.split(',').map(Number) ?? null,
  ops: new RegExp(valueOf('ops') ?? ''),
}

/** Rows of a stage leave its process as lines that begin with this. */
const mark = '\u0001row '

async function child(name: string): Promise<void> {
  const emit: Emit = (row) => void process.stdout.write(`${mark}${JSON.stringify(row)}\n`)
  await stages[name].run(plan, emit)
  // A device that hangs must not keep the process; what is still in the pipe must leave it.
  process.stdout.write('', () => process.exit(0))
  await new Promise(() => setInterval(() => {}, 1000))
}

interface Found {
  stage: string
  seconds: number
  /** How it ended, where it did not end by itself. */
  trouble: string | null
  rows: Record<string, unknown>[]
}

async function parent(): Promise<void> {
  const out = valueOf('out')
  const seconds = Number(valueOf('seconds') ?? 450)
  const only = valueOf('only')?.split(',')
  if (out === undefined || !(seconds > 0)) {
    console.error('measure: --out FOLDER is needed, and --seconds is above 0.')
    process.exitCode = 2
    return
  }
  mkdirSync(out, { recursive: true })
  const folder = mkdtempSync(join(tmpdir(), 'measure-'))
  const begun = performance.now()
  const left = (): number => seconds - (performance.now() - begun) / 1e3
  const head = {
    date: new Date().toISOString(),
    tiny,
    commit: commit(),
    node: process.version,
    dawnOptions: process.env.DAWN_OPTIONS ?? '',
    card:
      spawnSync('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader'], {
        encoding: 'utf8',
        timeout: 10_000,
      }).stdout?.trim() || null,
  }
  const found: Found[] = []
  const save = (): void => {
    writeFileSync(join(out, 'measure.json'), `${JSON.stringify({ format: 'measure', version: 1, ...head, found })}\n`)
    writeFileSync(join(out, 'measure.md'), markdown(head, found))
  }
  save()
  try {
    for (const [name, { share }] of Object.entries(stages)) {
      if (only && !only.includes(name)) continue
      const budget = Math.min(tiny ? 120 : share, left() - 2)
      const one: Found = { stage: name, seconds: 0, trouble: null, rows: [] }
      found.push(one)
      if (budget < 2) one.trouble = 'no time was left'
      else
        await runStage(name, budget, folder, one, (line) => appendFileSync(join(out, 'measure.log'), `${line}\n`), save)
      console.log(
        `${name}: ${one.rows.length} rows in ${one.seconds.toFixed(1)} s${one.trouble ? `; ${one.trouble}` : ''}`,
      )
      save()
    }
    const report = reportOf(found)
    if (report) writeFileSync(join(out, 'report.json'), `${JSON.stringify(report)}\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function commit(): string {
  const asked = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' })
  return asked.status === 0 ? asked.stdout.trim() : 'unknown'
}

async function runStage(
  name: string,
  budget: number,
  folder: string,
  one: Found,
  log: (line: string) => void,
  save: () => void,
): Promise<void> {
  const begun = performance.now()
  log(`--- ${name}, ${budget.toFixed(0)} s`)
  const words = [...argv, '--stage', name, '--budget', String(budget), '--folder', folder]
  const process_ = spawn(process.execPath, [...process.execArgv, self, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let saved = Number.NEGATIVE_INFINITY
  createInterface({ input: process_.stderr }).on('line', log)
  createInterface({ input: process_.stdout }).on('line', (line) => {
    if (!line.startsWith(mark)) return log(line)
    one.rows.push(JSON.parse(line.slice(mark.length)) as Record<string, unknown>)
    // The file is written whole: as often as that takes a small share of the time.
    if (performance.now() < saved + 1000) return
    save()
    saved = performance.now()
  })
  const timer = setTimeout(() => {
    one.trouble = `stopped after ${budget.toFixed(0)} s`
    process_.kill('SIGKILL')
  }, budget * 1e3)
  const code = await new Promise<number | null>((resolve) => process_.on('close', resolve))
  clearTimeout(timer)
  one.seconds = (performance.now() - begun) / 1e3
  if (one.trouble === null && code !== 0) one.trouble = `ended with ${code ?? 'a signal'}: see measure.log`
}

/** Longer than people read as JSON. */
const isLong = ({ kind }: Record<string, unknown>): boolean => ['report', 'profile', 'winners'].includes(kind as string)
const isRow = (row: Record<string, unknown>): boolean => ['kernel', 'network', 'failed'].includes(row.kind as string)

function peaksOf(found: readonly Found[]): Peaks | null {
  const row = found.flatMap(({ rows }) => rows).find(({ kind }) => kind === 'peaks')
  return (row as unknown as Peaks | undefined) ?? null
}

/** What `tweedie bench --compare` reads. */
function reportOf(found: readonly Found[]): BenchReport | null {
  const rows = found.flatMap((one) => one.rows)
  const head = rows.find(({ kind }) => kind === 'report')
  if (!head) return null
  const report = { ...(head as unknown as BenchReport), kind: 'bench', peaks: peaksOf(found) } as const
  return withRows(report, rows.filter(isRow) as unknown as Row[])
}

function markdown(head: Record<string, unknown>, found: readonly Found[]): string {
  const peaks = peaksOf(found)
  const words = Object.entries(head).map(([key, value]) => `- ${key}: ${String(value)}`)
  const sections = found.map(({ stage: name, seconds, trouble, rows }) => {
    const timed = rows.filter(isRow) as unknown as Row[]
    const others = rows.filter((row) => !isRow(row) && !isLong(row))
    return [
      `## ${name}`,
      `${seconds.toFixed(1)} s${trouble ? `; ${trouble}` : ''}`,
      ...(rows.some(({ kind }) => kind === 'peaks') && peaks ? peakLines(peaks) : []),
      ...(timed.length > 0 ? [markdownOf(timed, peaks)] : []),
      ...rows.filter(({ kind }) => kind === 'profile').map(profileOf),
      ...(others.length > 0 ? [['```', ...others.map((row) => JSON.stringify(row)), '```'].join('\n')] : []),
    ].join('\n\n')
  })
  return ['# A GPU, measured', words.join('\n'), ...sections, ratios(found)].join('\n\n')
}

interface Profile {
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

/** The 30 kinds of dispatches that take longest. */
function profileOf(row: Record<string, unknown>): string {
  const { network, pass, batch, ms, kinds } = row as unknown as Profile
  return [
    `### ${network} ${pass}, batch ${batch}: ${ms.toFixed(2)} ms in all dispatches\n`,
    '| ms | % | times | us each | TFLOP/s | op | shapes | kernel | grid |',
    '| --: | --: | --: | --: | --: | --- | --- | --- | --- |',
    ...kinds.slice(0, 30).map((kind) => {
      const each = (1e3 * kind.ms) / kind.count
      const rate = kind.flops > 0 ? (kind.flops / kind.ms / 1e9).toFixed(1) : ''
      const name = kind.kernel.replaceAll('"', '').replaceAll('|', '/').slice(0, 90)
      const share = ((100 * kind.ms) / ms).toFixed(1)
      return (
        `| ${kind.ms.toFixed(3)} | ${share} | ${kind.count} | ${each.toFixed(1)} | ${rate} | ${kind.op} | ` +
        `${kind.shapes} | ${name} | ${kind.grid} |`
      )
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

if (stage !== undefined) await child(stage)
else await parent()
