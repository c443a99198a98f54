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
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { withRows, type BenchReport, type Row } from '../../src/bench/index.ts'
import { isRow, markdown, peaksOf, type Found } from './markdown.ts'
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

/** That of the bundle, for what lies there may have no history. */
function commit(): string {
  const told = join(dirname(process.argv[1]), 'commit.txt')
  if (existsSync(told)) return readFileSync(told, 'utf8').trim()
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

/** What `tweedie bench --compare` reads. */
function reportOf(found: readonly Found[]): BenchReport | null {
  const rows = found.flatMap((one) => one.rows)
  const head = rows.find(({ kind }) => kind === 'report')
  if (!head) return null
  const report = { ...(head as unknown as BenchReport), kind: 'bench', peaks: peaksOf(found) } as const
  return withRows(report, rows.filter(isRow) as unknown as Row[])
}

if (stage !== undefined) await child(stage)
else await parent()
