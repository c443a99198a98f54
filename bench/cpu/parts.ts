/** The parts of the bench: who competes in what, and what must hold (issue 3, "What must hold"). */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Choice } from './contender.ts'
import { hasAvx512 } from './machine.ts'
import { compete, type Competition, type RoundOptions } from './rounds.ts'
import { judge, printTable, type Requirement, type Verdict } from './table.ts'
import type { Job } from './job.ts'
import { convJob, gemmJob, networkJob } from './tasks.ts'

type Isa = Choice['isa']
const ours = (threads: number, isa: Isa): Choice => ({ library: 'ours', threads, isa })
const ortWeb = (threads: number): Choice => ({ library: 'ort-web', threads, isa: 'plain' })
const ortNode = (threads: number, isa: Isa): Choice => ({ library: 'ort-node', threads, isa })
const tfjs: Choice = { library: 'tfjs-wasm', threads: 1, isa: 'plain' }
/** The two in Chromium. Threads LiteRT has with relaxed SIMD only. */
const litert = (threads: number, isa: Isa): Choice => ({ library: 'litert', threads, isa })
const inChromium = (threads: number, isa: Isa): Choice => ({ library: 'ours-chromium', threads, isa })
const browserRows: readonly (readonly [number, Isa])[] = [
  [1, 'plain'],
  [1, 'relaxed'],
  [2, 'relaxed'],
]
const torch = (threads: number, isa: Isa): Choice => ({ library: 'torch', threads, isa })

/** What a native library's AVX2 kernels are called here: on a CPU with AVX-512 they must be asked for. */
const avx2: Isa = hasAvx512 ? 'avx2' : 'native'

export interface Outcome {
  readonly competitions: Competition[]
  readonly verdicts: Verdict[]
}

async function play(
  job: Job,
  choices: readonly Choice[],
  requirements: readonly Requirement[],
  options: RoundOptions,
): Promise<Outcome> {
  try {
    const competition = await compete(job, choices, options)
    printTable(competition)
    return { competitions: [competition], verdicts: judge(competition, requirements) }
  } finally {
    job.dispose()
  }
}

const joined = (outcomes: readonly Outcome[]): Outcome => ({
  competitions: outcomes.flatMap((o) => o.competitions),
  verdicts: outcomes.flatMap((o) => o.verdicts),
})

/** Ours against every other library, one op. `least`: ort-web by plain and by relaxed SIMD, tfjs, native AVX2. */
async function op(
  job: Job,
  least: readonly [plain: number, relaxed: number, tfjs: number, native: number],
  rounds: number,
): Promise<Outcome> {
  const both = [1, 2]
  const choices = [
    ...both.flatMap((t) => [ours(t, 'plain'), ours(t, 'relaxed')]),
    ...both.map(ortWeb),
    tfjs,
    ...both.map((t) => ortNode(t, 'native')),
    ...(hasAvx512 ? both.map((t) => ortNode(t, 'avx2')) : []),
    ...browserRows.flatMap(([t, isa]) => [litert(t, isa), inChromium(t, isa)]),
  ]
  const browser = browserRows.map(
    ([t, isa]): Requirement => ({ fast: inChromium(t, isa), slow: litert(t, isa), atLeast: 1 }),
  )
  const requirements = both.flatMap((t): Requirement[] => [
    { fast: ours(t, 'plain'), slow: ortWeb(t), atLeast: least[0] },
    { fast: ours(t, 'relaxed'), slow: ortWeb(t), atLeast: least[1] },
    ...(t === 1 ? [{ fast: ours(t, 'plain'), slow: tfjs, atLeast: least[2] }] : []),
    { fast: ours(t, 'relaxed'), slow: ortNode(t, avx2), atLeast: least[3] },
    ...(hasAvx512 ? [{ fast: ours(t, 'relaxed'), slow: ortNode(t, 'native') }] : []),
  ])
  return play(job, choices, [...requirements, ...browser], { rounds, slot: 100 })
}

/** Channels, size, batch. */
const shapes: readonly (readonly [number, number, number])[] = [
  [64, 32, 8],
  [128, 16, 8],
  [32, 32, 16],
]

/** Two threads against one; `busy` other processes compute beside them. */
async function threads(busy: number, rounds: number): Promise<Outcome> {
  const least = busy === 0 ? 1.5 : 0.8
  const beside = Array.from({ length: busy }, () => spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }))
  try {
    const isas = ['plain', 'relaxed'] as const
    const choices = isas.flatMap((isa) => [ours(1, isa), ours(2, isa)])
    const requirements = isas.map((isa): Requirement => ({ fast: ours(2, isa), slow: ours(1, isa), atLeast: least }))
    console.log(
      busy === 0 ? '\nTwo threads against one, quiet' : `\nTwo threads against one, beside ${busy} busy processes`,
    )
    const jobs = [convJob(64, 32, 8), gemmJob(512), await networkJob('unet', 16)]
    const outcomes: Outcome[] = []
    for (const job of jobs)
      outcomes.push(
        await play(
          { ...job, title: busy ? `${job.title}, beside ${busy} busy processes` : job.title },
          choices,
          requirements,
          { rounds, slot: 200, beside: busy > 0 },
        ),
      )
    return joined(outcomes)
  } finally {
    for (const child of beside) {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    }
  }
}

export const parts: Readonly<Record<string, (rounds: number) => Promise<Outcome>>> = {
  async conv(rounds) {
    const outcomes: Outcome[] = []
    for (const shape of shapes) outcomes.push(await op(convJob(...shape), [1.4, 1.8, 1.3, 0.5], rounds))
    return joined(outcomes)
  },
  gemm: (rounds) => op(gemmJob(512), [1.3, 1.7, 1.3, 0.4], rounds),
  threads: async (rounds) => joined([await threads(0, rounds), await threads(2, rounds)]),
  async unet(rounds) {
    // torch first: the others' results are held against it.
    const choices = [
      torch(2, 'native'),
      ...(hasAvx512 ? [torch(2, 'avx2')] : []),
      ortWeb(2),
      ours(2, 'plain'),
      ours(2, 'relaxed'),
    ]
    return play(
      await networkJob('unet', 16),
      choices,
      [
        { fast: ours(2, 'plain'), slow: ortWeb(2), atLeast: 1.5 },
        { fast: ours(2, 'relaxed'), slow: ortWeb(2) },
        { fast: ours(2, 'relaxed'), slow: torch(2, 'native'), atLeast: 1 },
        { fast: ours(2, 'plain'), slow: torch(2, 'native') },
        ...(hasAvx512 ? [{ fast: ours(2, 'relaxed'), slow: torch(2, 'avx2') }] : []),
      ],
      { rounds, slot: 300 },
    )
  },
  training: (rounds) => trained('training', rounds),
  step: (rounds) => trained('step', rounds),
}

async function trained(kind: 'training' | 'step', rounds: number): Promise<Outcome> {
  const choices = [torch(2, 'native'), ...(hasAvx512 ? [torch(2, 'avx2')] : []), ours(2, 'plain'), ours(2, 'relaxed')]
  return play(
    await networkJob(kind, 32),
    choices,
    [
      { fast: ours(2, 'relaxed'), slow: torch(2, 'native'), atLeast: 1 },
      { fast: ours(2, 'plain'), slow: torch(2, 'native') },
      ...(hasAvx512 ? [{ fast: ours(2, 'relaxed'), slow: torch(2, 'avx2') }] : []),
    ],
    { rounds, slot: 300 },
  )
}
