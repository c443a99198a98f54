/**
 * Processes that want one output at once: exactly one gets it, the other says who has it, and what is there in the end
 * is the winner's, to the byte what an undisturbed run makes. Also when winners are killed.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { encode } from 'fast-png'
import { beforeAll, expect, test } from 'vitest'
import type { RunRecord } from '../../src/tweedie/run-record.ts'
import { temporaryFolder } from '../cli.ts'
import { takers } from '../lock-children.ts'
import { base, writeModel } from '../small-models.ts'

const at = temporaryFolder()
const launcher = fileURLToPath(new URL('../../bin/tweedie.js', import.meta.url))
const cpu = ['--backend', 'cpu', '--threads', '1']
const sample = (out: string, seed: number): string[] => [
  'sample',
  '--model',
  at('model.safetensors'),
  '--respacing',
  '25',
  '--number',
  '4',
  '--batch',
  '1',
  '--seed',
  String(seed),
  ...cpu,
  '--out',
  at(out),
]
const train = (out: string, seed: number): string[] => [
  'train',
  'diffusion',
  '--data',
  at('data'),
  '--num-channels',
  '32',
  '--channel-mult',
  '1,1',
  '--attention-resolutions',
  '4',
  '--images',
  '16',
  '--batch',
  '2',
  '--save-every',
  '2',
  '--samples',
  '1',
  '--evaluate-on',
  '0',
  '--ema',
  '0.5',
  '--seed',
  String(seed),
  ...cpu,
  '--out',
  at(out),
]

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly err: string
}

/** Runs tweedie in a process of its own; `killAfter` milliseconds it is killed. */
function run(argv: readonly string[], killAfter?: number): Promise<Ended> {
  const child = spawn(process.execPath, [launcher, ...argv], { stdio: ['ignore', 'ignore', 'pipe'] })
  const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter)
  let err = ''
  child.stderr.on('data', (text: Buffer) => (err += String(text)))
  return new Promise((resolve) =>
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, err })
    }),
  )
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')
/** Names and contents, but for what says when and how fast. */
const contents = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(at(folder))
      .sort()
      .filter((name) => !/^(report\.html|run\.json|log\.csv)$/.test(name))
      .map((name) => [name, sha256(join(at(folder), name))]),
  )
const record = (folder: string): RunRecord =>
  JSON.parse(readFileSync(join(at(folder), 'run.json'), 'utf8')) as RunRecord

beforeAll(async () => {
  await writeModel(at('model.safetensors'), base)
  mkdirSync(at('data'))
  for (let k = 0; k < 8; k++)
    writeFileSync(
      join(at('data'), `${k}.png`),
      encode({
        width: 8,
        height: 8,
        channels: 3,
        depth: 8,
        data: Uint8Array.from({ length: 192 }, (_, i) => (k * 31 + i * 7) % 256),
      }),
    )
  for (const seed of [0, 1]) {
    expect(await run(sample(`sample-${seed}`, seed))).toMatchObject({ code: 0 })
    expect(await run(train(`train-${seed}`, seed))).toMatchObject({ code: 0 })
  }
})

test.each([
  ['sample', sample, 6],
  ['train', train, 6],
] as const)('pairs of %s into one folder', async (kind, argv, pairs) => {
  for (let pair = 0; pair < pairs; pair++) {
    const out = `${kind}-pair-${pair}`
    const both = await Promise.all([0, 1].map((seed) => run(argv(out, seed))))
    expect(both.map(({ code }) => code).sort(), both.map(({ err }) => err).join('\n')).toEqual([0, 1])
    const winner = both.findIndex(({ code }) => code === 0)
    // One that began after the other's end meets a finished run.
    expect(both[1 - winner].err).toMatch(
      /in use by tweedie (sample|train diffusion) \(process \d+ on .*\)\. Wait for it, or choose another --out|holds a (finished )?run/,
    )
    expect(contents(out)).toEqual(contents(`${kind}-${winner}`))
    if (kind === 'sample') {
      expect(record(out)).toMatchObject({ status: 'done', options: { seed: winner } })
      for (const { file, sha256: expected } of record(out).samples) expect(sha256(join(at(out), file))).toBe(expected)
    }
  }
})

test('of convert into one file: it is whole, and nothing is left beside it', async () => {
  mkdirSync(at('converted'))
  for (let round = 0; round < 4; round++) {
    const all = await Promise.all(
      [0, 1, 2].map(() => run(['convert', at('model.safetensors'), at('converted/m.safetensors')])),
    )
    expect(all.some(({ code }) => code === 0)).toBe(true)
    for (const { code, err } of all) if (code !== 0) expect(err).toMatch(/OUT .* is in use by tweedie convert/)
    expect(readdirSync(at('converted'))).toEqual(['m.safetensors'])
  }
  expect(
    await run([
      'sample',
      '--model',
      at('converted/m.safetensors'),
      '--respacing',
      '2',
      '--number',
      '1',
      ...cpu,
      '--out',
      at('from-converted'),
    ]),
  ).toMatchObject({ code: 0 })
})

test.each([
  ['sample', sample, []],
  ['train', train, ['--resume']],
] as const)(
  '%s, killed twenty times while two others want its folder, ends as if undisturbed',
  async (kind, argv, more) => {
    const out = `${kind}-killed`
    let kills = 0
    for (let round = 0; round < 20; round++) {
      const killed = run([...argv(out, 0), ...more], 300 + Math.random() * 700)
      await wait(Math.random() * 300)
      const others = await Promise.all([1, 2].map(() => run([...argv(out, 0), ...more], 200 + Math.random() * 700)))
      if ((await killed).signal === 'SIGKILL') kills++
      // Killed, refused, or finished: nothing else.
      for (const { code, signal, err } of others)
        expect(signal === 'SIGKILL' || code === 0 || /in use by/.test(err), err).toBe(true)
    }
    expect(kills).toBeGreaterThan(0)
    expect(await run([...argv(out, 0), ...more])).toMatchObject({ code: 0 })
    expect(contents(out)).toEqual(contents(`${kind}-0`))
  },
)

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s in the middle of a run lets its lock go', async (signal) => {
  for (const [kind, argv] of [
    ['sample', sample],
    ['train', train],
  ] as const) {
    const out = `${kind}-${signal}`
    const child = spawn(process.execPath, [launcher, ...argv(out, 0)], { stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr.resume()
    // Before it has written anything it takes its empty folder away again.
    const begun = (): boolean => existsSync(at(out)) && readdirSync(at(out)).some((name) => !name.startsWith('.'))
    for (let tries = 0; !begun() && tries < 3000; tries++) await wait(10)
    child.kill(signal)
    // Done already on a fast machine; otherwise as main.ts says.
    expect([0, 128 + constants.signals[signal]]).toContain(await new Promise((ended) => child.once('close', ended)))
    expect(readdirSync(at(out)).filter((name) => name.startsWith('.') || name.endsWith('.tmp'))).toEqual([])
    expect(await run([...argv(out, 0), ...(kind === 'train' ? ['--resume'] : [])])).toMatchObject({ code: 0 })
    expect(contents(out)).toEqual(contents(`${kind}-0`))
  }
})

test('a lock that is taken hundreds of times, by processes that are killed while they hold it', async () => {
  for (let round = 0; round < 5; round++) {
    const { killed, rounds, complaints } = await takers(at(`lock-${round}`), {
      processes: 12,
      rounds: 20,
      deaths: 0.02,
    })
    expect(complaints).toBe('')
    expect(rounds).toBeGreaterThanOrEqual(20 * (12 - killed))
  }
})
