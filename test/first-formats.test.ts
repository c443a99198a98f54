/**
 * What was made before formats changed still opens: an unfinished run goes on to the same pictures, a finished one is
 * replayed, scores, labels and selections are read. The files and the commands that made them: fixtures/first-formats.
 *
 * An option that comes later must mean, where a record does not have it, what it was before: a new one whose default is
 * recorded makes the first test fail.
 */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { applySelection, openImages } from '../src/data/index.node.ts'
import { parseMinorityLabels, parseMinorityScores } from '../src/diffusion/minority/minority-files.ts'
import { temporaryFolder, tweedie } from './cli.ts'

const fixture = (name: string): string => join(fileURLToPath(new URL('fixtures/first-formats/', import.meta.url)), name)
const json = <T>(path: string): T => JSON.parse(readFileSync(path, 'utf8')) as T
const at = temporaryFolder()
/** One of the things that a command changes, copied. */
const copied = (name: string, as = name): string => {
  cpSync(fixture(name), at(as), { recursive: true })
  return at(as)
}

const model = ['--model', fixture('model.safetensors')]
const device = ['--backend', 'cpu', '--simd', 'plain', '--threads', '1']
const sampling = ['sample', ...model, ...device, '--respacing', '50', '--number', '4', '--batch', '2', '--seed', '5']
const scoring = [
  'score',
  ...model,
  ...device,
  '--data',
  fixture('pictures.npz'),
  '--select',
  fixture('selection.json'),
  '--batch',
  '3',
  '--seed',
  '1',
]

async function run(argv: readonly string[]): Promise<string> {
  const { code, out, err } = await tweedie(argv)
  expect(code, err.join('\n')).toBe(0)
  return [...out, ...err].join('\n')
}

const pictures = ['sample-0000.png', 'sample-0001.png', 'sample-0002.png', 'sample-0003.png']

/** The run in `folder` is that of the fixture `as`, pictures, scores and report. */
function expectFinished(folder: string, as = 'finished'): void {
  const [found, expected] = [json<RunRecord>(join(folder, 'run.json')), json<RunRecord>(fixture(`${as}/run.json`))]
  expect(found.status).toBe('done')
  expect(found.samples).toMatchObject(expected.samples)
  for (const name of pictures)
    expect(readFileSync(join(folder, name)).equals(readFileSync(fixture(`${as}/${name}`)))).toBe(true)
  const report = readFileSync(join(folder, 'report.html'), 'utf8')
  for (const { score } of expected.samples) expect(report).toContain(score!.toPrecision(4))
  expect(readFileSync(join(folder, 'contact-sheet.png')).equals(readFileSync(fixture(`${as}/contact-sheet.png`)))).toBe(
    true,
  )
}

const guided = [
  '--method',
  'self-guided',
  '--sampler',
  'ddim',
  '--eta',
  '0.5',
  '--guide-weight',
  '0.4',
  '--guide-every',
  '3',
  '--guide-strength',
  '0.6',
  '--boost',
  '1.5',
  '--skip',
  '2',
]

test.each([
  ['unfinished', 'finished', []],
  ['unfinished-guided', 'finished-guided', guided],
])('an unfinished run goes on to the same pictures: %s', async (unfinished, finished, more) => {
  const folder = copied(unfinished)
  expect(await run([...sampling, ...more, '--out', folder])).toContain('2 of 4 samples are there already')
  expectFinished(folder, finished)
})

test('a run that was stopped before its report gets one, and draws nothing', async () => {
  const folder = copied('finished', 'drawn')
  for (const name of ['report.html', 'contact-sheet.png']) rmSync(join(folder, name))
  writeFileSync(
    join(folder, 'run.json'),
    JSON.stringify({ ...json<RunRecord>(join(folder, 'run.json')), status: 'unfinished' }),
  )
  const said = await run([...sampling, '--out', folder])
  expect(said).toContain('4 of 4 samples are there already')
  expect(said).not.toContain('samples 1 to')
  expectFinished(folder)
})

test.each(['finished', 'finished-guided'])('a finished run is replayed to the same pictures: %s', async (name) => {
  expect(
    await run(['replay', fixture(`${name}/run.json`), ...model, ...device, '--out', at(`${name}-again`)]),
  ).toContain('4 of 4 pictures are the same to the byte')
  expectFinished(at(`${name}-again`), name)
})

test('a selection and scores are read, and the same images get the same scores and labels', async () => {
  await run([...scoring, '--draws', '2', '--out', at('scores.json')])
  const [again, scores] = [at('scores.json'), fixture('scores.json')].map((path) =>
    parseMinorityScores(readFileSync(path, 'utf8'), path),
  )
  expect([again.scores, again.indices, again.fingerprint]).toEqual([scores.scores, scores.indices, scores.fingerprint])
  await run([
    'label',
    '--scores',
    fixture('scores.json'),
    '--levels',
    '3',
    '--data',
    fixture('pictures.npz'),
    '--out',
    at('labels.json'),
  ])
  const [relabelled, labels] = [at('labels.json'), fixture('labels.json')].map((path) =>
    parseMinorityLabels(readFileSync(path, 'utf8'), path),
  )
  expect([relabelled.labels, relabelled.thresholds, relabelled.indices]).toEqual([
    labels.labels,
    labels.thresholds,
    labels.indices,
  ])
})

test('unfinished scores go on', async () => {
  const unfinished = copied('interrupted.json.unfinished')
  const { scores } = json<{ scores: number[] }>(unfinished)
  expect(await run([...scoring, '--draws', '100', '--out', at('interrupted.json')])).toContain(
    '3 of 9 images are scored already',
  )
  expect(json<{ scores: number[] }>(at('interrupted.json')).scores.slice(0, 3)).toEqual(scores)
  expect(existsSync(unfinished)).toBe(false)
})

test('a folder of pictures is that of its selection and scores', async () => {
  const set = await openImages(fixture('pictures'))
  expect(applySelection(set, readFileSync(fixture('folder-selection.json'), 'utf8'), 'held-out').length).toBe(3)
  await run([
    'label',
    '--scores',
    fixture('folder-scores.json'),
    '--levels',
    '3',
    '--data',
    fixture('pictures'),
    '--out',
    at('folder-labels.json'),
  ])
})
