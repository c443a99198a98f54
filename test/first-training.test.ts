/**
 * Training states of the first version still open: they go on to the bits that the program of then computed, and are
 * states of the present version from then on. The files and the commands that made them: fixtures/first-training.
 */
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { encodeSafetensors, openCheckpoint, openFile } from '../src/io/index.node.ts'
import type { TrainCounters } from '../src/train/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'

const fixture = (name: string): string =>
  join(fileURLToPath(new URL('fixtures/first-training/', import.meta.url)), name)
const at = temporaryFolder()
const cpu = ['--backend', 'cpu', '--simd', 'plain', '--threads', '1']
const data = [
  '--data',
  fixture('pictures'),
  '--classes-by',
  'prefix',
  '--select',
  fixture('split.json'),
  '--images',
  '24',
  '--batch',
  '4',
  '--save-every',
  '2',
]
const commands = {
  features: ['train', 'features', ...data, '--channels', '2,2', '--ema', '0.5', '--log-every', '3', ...cpu],
  diffusion: [
    'train',
    'diffusion',
    ...data,
    '--num-channels',
    '32',
    '--channel-mult',
    '1',
    '--num-head-channels',
    '16',
    '--diffusion-steps',
    '20',
    '--ema',
    '0.5',
    '--log-every',
    '3',
    '--samples',
    '0',
    '--evaluate-on',
    '4',
    ...cpu,
  ],
  classifier: [
    'train',
    'classifier',
    ...data,
    '--labels',
    fixture('labels.json'),
    '--schedule',
    'cosine',
    '--diffusion-steps',
    '20',
    '--classifier-width',
    '32',
    '--classifier-depth',
    '1',
    '--classifier-channel-mult',
    '1',
    '--classifier-head-channels',
    '16',
    '--evaluate-on',
    '4',
    ...cpu,
  ],
}

async function run(argv: readonly string[], out: string): Promise<string> {
  const { code, err } = await tweedie([...argv, '--out', at(out), '--resume'])
  expect(code, err.join('\n')).toBe(0)
  return err.join('\n')
}

/** What the state in the folder says of itself, and the hash of each of its tensors. */
async function stateIn(folder: string): Promise<{
  metadata: Readonly<Record<string, string>>
  counters: TrainCounters
  tensors: Record<string, string>
  shapes: [string, { shape: readonly number[]; data: Float32Array }][]
}> {
  const checkpoint = await openCheckpoint(await openFile(join(at(folder), 'state.safetensors')))
  const shapes: [string, { shape: readonly number[]; data: Float32Array }][] = []
  for (const [key, entry] of checkpoint.tensors)
    shapes.push([key, { shape: entry.shape, data: (await entry.read()) as Float32Array }])
  await checkpoint.close()
  const hash = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
    createHash('sha256')
      .update(new Uint8Array(buffer, byteOffset, byteLength))
      .digest('hex')
  return {
    metadata: checkpoint.metadata,
    counters: JSON.parse(checkpoint.metadata.counters) as TrainCounters,
    tensors: Object.fromEntries(shapes.map(([key, { data }]) => [key, hash(data)])),
    shapes,
  }
}

test('a run of then goes on to the same bits, log and evaluations', async () => {
  mkdirSync(at('features'))
  cpSync(fixture('features-step-4.safetensors'), join(at('features'), 'state.safetensors'))
  expect(await run(commands.features, 'features')).toContain('going on after step 4 of 6')
  const expected = JSON.parse(readFileSync(fixture('features-step-6.json'), 'utf8')) as {
    log: string
    evaluations: unknown
    rows: { gradientNorm: number }[]
    tensors: unknown
  }
  const { metadata, counters, tensors } = await stateIn('features')
  expect(tensors).toEqual(expected.tensors)
  // The norm of all gradients is a sum over them where they lie one after another now: as many roundings, in another
  // order. It clips nothing here, so the weights are those bits all the same.
  expected.rows.forEach((row, i) => {
    const { gradientNorm } = counters.rows[i]
    expect(Math.abs(gradientNorm / row.gradientNorm - 1)).toBeLessThan(1e-6)
    expected.log = expected.log.replace(String(row.gradientNorm), String(gradientNorm))
    row.gradientNorm = gradientNorm
  })
  expect([counters.rows, counters.evaluations, counters.reviewed, counters.history]).toEqual([
    expected.rows,
    expected.evaluations,
    6,
    [],
  ])
  expect(readFileSync(join(at('features'), 'log.csv'), 'utf8')).toBe(expected.log)
  expect([metadata.version, metadata.sha256]).toEqual(['2', expect.stringMatching(/^[0-9a-f]{64}$/)])
})

// Their tensors would be a megabyte: what they said of themselves, on tensors of now.
test.each(['diffusion', 'classifier'] as const)('what a state of %s said of its run is understood', async (kind) => {
  await run(
    commands[kind].map((word, i, all) => (all[i - 1] === '--images' ? '16' : word)),
    kind,
  )
  const { shapes } = await stateIn(kind)
  const metadata = JSON.parse(readFileSync(fixture(`${kind}-step-4.json`), 'utf8')) as Record<string, string>
  writeFileSync(join(at(kind), 'state.safetensors'), Buffer.concat(encodeSafetensors(shapes, metadata)))
  expect(await run(commands[kind], kind)).toContain('going on after step 4 of 6')
  const { counters } = await stateIn(kind)
  expect(counters.evaluations.map((review) => (review as { step: number }).step)).toEqual([2, 4, 6])
})
