/**
 * The CPU backend against its peers, side by side in one run: convolution and GEMM, two threads against one, the small
 * U-Net forward, and forward and backward; and the share of a step's time by op. Prints every figure, and beside each
 * ratio of medians that issue 3 asks for, what it asks for. `npm run cpu` in this directory:
 *
 *   npm run cpu -- [--only conv,gemm,threads,unet,training,step,profile] [--rounds 9] [--large] [--json FILE]
 *
 * --large adds ADM-64's forward pass (220 GFLOP), once. Every contender is a process of its own (cpu/protocol.ts).
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { chromiumPrepare } from './cpu/contenders/chromium.ts'
import { ortPrepare } from './cpu/contenders/ort.ts'
import { oursPrepare } from './cpu/contenders/ours.ts'
import { tfjsPrepare } from './cpu/contenders/tfjs.ts'
import { nameOf, stopAllAtExit, type Choice } from './cpu/contender.ts'
import { describeMachine } from './cpu/machine.ts'
import { parts, type Outcome } from './cpu/parts.ts'
import { profile } from './cpu/profile.ts'
import { bestMs, medianMs } from './cpu/rounds.ts'
import { serve, type Prepare } from './cpu/protocol.ts'
import { printVerdicts } from './cpu/table.ts'

async function contend(library: string, threads: number, isa: Choice['isa']): Promise<void> {
  const name = nameOf({ library, threads, isa } as Choice)
  const make = async (): Promise<Prepare> => {
    if (library === 'ours') return oursPrepare(threads, isa as 'plain' | 'relaxed')
    if (library === 'ort-web' || library === 'ort-node') return ortPrepare(library, threads, isa)
    if (library === 'litert') return chromiumPrepare('litert', threads, isa)
    if (library === 'ours-chromium') return chromiumPrepare('ours', threads, isa)
    return tfjsPrepare()
  }
  let prepare: Promise<Prepare> | undefined
  await serve(name, async (task) => (await (prepare ??= make()))(task))
}

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      rounds: { type: 'string', default: '9' },
      large: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  })
  const all = [...Object.keys(parts), 'profile']
  const wanted = values.only?.split(',') ?? all
  const unknown = wanted.filter((part) => !all.includes(part))
  const rounds = Number(values.rounds)
  if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1)
    throw new Error(`expected --only with some of ${all.join(',')} and --rounds with a number`)
  console.log(`${describeMachine()}\nmedians of ${rounds} interleaved rounds`)
  const outcomes: Outcome[] = []
  for (const [name, part] of Object.entries(parts)) if (wanted.includes(name)) outcomes.push(await part(rounds))
  const verdicts = outcomes.flatMap((o) => o.verdicts)
  if (verdicts.length > 0) printVerdicts(verdicts)
  const shares = wanted.includes('profile') ? await profile({ large: values.large }) : undefined
  if (!values.json) return
  const competitions = outcomes
    .flatMap((o) => o.competitions)
    .map(({ job, results, failed, foreign, run }) => ({
      title: job.title,
      work: job.work,
      foreign,
      run,
      failed,
      results: results.map((r) => ({ ...r, ms: medianMs(r), best: bestMs(r) })),
    }))
  writeFileSync(
    values.json,
    `${JSON.stringify({ machine: describeMachine(), rounds, competitions, verdicts, shares }, null, 1)}\n`,
  )
}

if (process.argv[2] === '--contender') {
  const [library, threads, isa] = process.argv.slice(3) as [string, string, Choice['isa']]
  await contend(library, Number(threads), isa)
  process.exit(0)
} else {
  stopAllAtExit()
  await bench()
}
