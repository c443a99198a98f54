/**
 * The search for nearest neighbours: beside scikit-learn's brute force and torch.cdist in one run, and by its products
 * alone; or whole, as large as people have it. `npm run distances` in this directory:
 *
 *   npm run distances -- [--size 8192] [--rounds 3] against the peers, which Debian's python3-sklearn and python3-torch
 *   are npm run distances -- --whole [--size 50000] ours: time, rate, and memory at most
 */
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { kNearest } from '../src/metrics/index.ts'
import type { NeighboursTask } from './cpu/clock.ts'
import { neighbours, products, productsOf } from './cpu/contenders/neighbours.ts'
import { requestCpu } from './cpu/contenders/ours.ts'
import { nameOf, openBlas, stopAllAtExit, type Choice } from './cpu/contender.ts'
import { difference, directory, random, within, type Job } from './cpu/job.ts'
import { describeMachine } from './cpu/machine.ts'
import { readTensor, serve, writeTensor } from './cpu/protocol.ts'
import { compete } from './cpu/rounds.ts'
import { judge, printTable, printVerdicts, type Requirement } from './cpu/table.ts'

/** As many numbers as Inception's features have. */
const dimension = 2048
const k = 5

/** Half of them 0, as features behind a ReLU are. A thousand rows at a time, so that nothing else needs much memory. */
function features(count: number, set: number): Float32Array {
  const out = new Float32Array(count * dimension)
  for (let row = 0; row < count; row += 1000) {
    const some = random(Math.min(1000, count - row) * dimension, row + set)
    for (let i = 0; i < some.length; i++) out[row * dimension + i] = Math.max(0, some[i])
  }
  return out
}

function neighboursJob(count: number, own: boolean): Job {
  const { dir, dispose } = directory()
  const task: NeighboursTask = { kind: 'neighbours', dir, count, dimension, k, own }
  const queries = features(count, 0)
  const references = own ? queries : features(count, 1)
  writeTensor(dir, 'x', queries)
  writeTensor(dir, 'w', references)
  // Of the first queries, by looking at every pair.
  const expected = Array.from({ length: 8 }, (_, i) => {
    const all = Array.from({ length: count }, (__, j) => {
      let sum = own && i === j ? Infinity : 0
      for (let d = 0; d < dimension; d++) sum += (queries[i * dimension + d] - references[j * dimension + d]) ** 2
      return Math.sqrt(sum)
    })
    return all.sort((a, b) => a - b).slice(0, k)
  }).flat()
  return {
    title: `${k} nearest of ${count}${own ? ' others' : ''} for each of ${count}, ${dimension} numbers`,
    task,
    dispose,
    work: { amount: (2 * count * count * dimension) / 1e9, unit: 'GFLOP' },
    // What the peers' single precision leaves of a difference of large squares.
    check: (name) => within(1e-4, difference(readTensor(dir, `y.${name}`).subarray(0, expected.length), expected)),
  }
}

async function compare(size: number, rounds: number): Promise<void> {
  console.log(`${describeMachine()}\nmedians of ${rounds} interleaved rounds`)
  const ours = (isa: Choice['isa']): Choice => ({ library: 'ours', threads: 2, isa })
  const alone: Choice = { library: 'ours-products', threads: 2, isa: 'relaxed' }
  const verdicts = []
  for (const own of [false, true]) {
    // Without OpenBLAS, as Debian installs them, the peers take half a minute for 8,192: once is enough.
    const isas: Choice['isa'][] = [
      ...(own ? [] : ['native' as const]),
      ...(existsSync(openBlas) ? ['openblas' as const] : []),
    ]
    const peers = isas.flatMap((isa): Choice[] => [
      { library: 'sklearn', threads: 2, isa },
      { library: 'torch-cdist', threads: 2, isa },
    ])
    const requirements: Requirement[] = [
      { fast: ours('relaxed'), slow: alone, atLeast: 0.85 },
      ...peers.map((slow) => ({ fast: ours('relaxed'), slow, ...(slow.isa === 'native' ? { atLeast: 1 } : {}) })),
    ]
    const job = neighboursJob(size, own)
    try {
      const competition = await compete(job, [ours('relaxed'), ours('plain'), alone, ...peers], { rounds, slot: 300 })
      printTable(competition)
      verdicts.push(...judge(competition, requirements))
    } finally {
      job.dispose()
    }
  }
  printVerdicts(verdicts)
}

async function whole(size: number): Promise<void> {
  console.log(describeMachine())
  const [queries, references] = [0, 1].map((draw) => ({ data: features(size, draw), dimension }))
  const device = await requestCpu(2, 'relaxed')
  const alone = productsOf(device, queries, references, 4 * 504 * 8160)
  await alone()
  const timed = async (name: string, pairs: number, run: () => Promise<unknown>): Promise<void> => {
    const [start, cpu] = [performance.now(), process.cpuUsage()]
    await run()
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const gflop = (2 * pairs * dimension) / 1e9
    const cores = (user + system) / 1e6 / seconds
    const memory = process.resourceUsage().maxRSS / 1024
    console.log(
      `${name.padEnd(36)}${seconds.toFixed(1).padStart(7)} s ${(gflop / seconds).toFixed(1).padStart(7)} GFLOP/s` +
        ` ${cores.toFixed(2).padStart(6)} cores ${(gflop / seconds / cores).toFixed(1).padStart(6)} GFLOP/s a core` +
        ` ${memory.toFixed(0).padStart(6)} MiB at most`,
    )
  }
  let last = 0
  const onProgress = (done: number): void => {
    if (Math.floor(done * 20) > last) console.error(`${5 * (last = Math.floor(done * 20))} %`)
  }
  await timed('products alone', 4 * 504 * 8160, alone)
  await timed(`${k} nearest of ${size} for ${size}`, size ** 2, () =>
    kNearest(device, queries, references, k, { onProgress }),
  )
  await timed('products alone', 4 * 504 * 8160, alone)
  last = 0
  await timed(`${k} nearest others of ${size}`, size ** 2, () =>
    kNearest(device, queries, queries, k, { leaveOneOut: true, onProgress }),
  )
  device.dispose()
}

if (process.argv[2] === '--contender') {
  const [library, threads, isa] = process.argv.slice(3) as [Choice['library'], string, 'plain' | 'relaxed']
  const device = await requestCpu(Number(threads), isa)
  await serve(nameOf({ library, threads: Number(threads), isa }), (task) =>
    (library === 'ours' ? neighbours : products)(device, task as NeighboursTask),
  )
  process.exit(0)
} else {
  const { values } = parseArgs({
    options: {
      size: { type: 'string' },
      rounds: { type: 'string', default: '3' },
      whole: { type: 'boolean', default: false },
    },
  })
  stopAllAtExit()
  if (values.whole) await whole(Number(values.size ?? 50_000))
  else await compare(Number(values.size ?? 8192), Number(values.rounds))
}
