/**
 * The data of a training run: looked at before it begins, known by their contents, and changed on the way only
 * where that is asked for.
 */
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { changedFiles, readImageFiles, writeImageFiles } from '../src/data/image-files.node.ts'
import { openImages } from '../src/data/index.node.ts'
import { encodeSafetensors, openCheckpoint, openFile } from '../src/io/index.node.ts'
import { temporaryFolder, tweedie } from './cli.ts'

const at = temporaryFolder()
const pictures = fileURLToPath(new URL('fixtures/first-training/pictures', import.meta.url))
/** A copy of the eight pictures, into which something is done. */
const copied = (name: string): ((picture: string) => string) => {
  cpSync(pictures, at(name), { recursive: true })
  return (picture) => join(at(name), `${picture}.png`)
}
const train = (data: string, out: string, images: number, ...more: string[]) =>
  tweedie([
    'train',
    'features',
    '--data',
    at(data),
    '--out',
    at(out),
    '--images',
    String(images),
    '--batch',
    '4',
    '--channels',
    '2,2',
    '--ema',
    '0.5',
    '--backend',
    'cpu',
    '--threads',
    '1',
    '--resume',
    ...more,
  ])
const metadataOf = async (file: string): Promise<Readonly<Record<string, string>>> => {
  const checkpoint = await openCheckpoint(await openFile(file))
  await checkpoint.close()
  return checkpoint.metadata
}

test('all damaged images are named before anything is trained, and the good ones are not looked at again', async () => {
  const picture = copied('damaged')
  const whole = readFileSync(picture('odd_1'))
  for (const name of ['odd_1', 'even_4'])
    writeFileSync(picture(name), Buffer.from(readFileSync(picture(name))).fill(7, 50, 60))
  writeFileSync(picture('odd_5'), 'a picture?')
  const { code, err } = await train('damaged', 'damaged-run', 8)
  expect([code, err.join('\n')]).toEqual([
    1,
    expect.stringMatching(
      /3 images cannot be read\. Replace or remove them, or leave them out with --skip-bad:\n.*even_4\.png: a damaged PNG.*\n.*odd_1\.png: a damaged PNG.*\n.*odd_5\.png: neither a PNG nor a JPEG/,
    ),
  ])
  expect(err.join('\n')).not.toContain('Training')
  rmSync(picture('odd_5'))
  const second = await train('damaged', 'damaged-run', 8)
  expect([second.code, second.err.at(-1)]).toEqual([1, expect.stringMatching(/2 images cannot be read/)])
  const looked = readFileSync(join(at('damaged-run'), 'images.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown[])
  expect(looked.map((row) => [row[0], row.at(-1)])).toEqual([
    ['even_0.png', 1],
    ['even_2.png', 1],
    ['even_4.png', 0],
    ['even_6.png', 1],
    ['odd_1.png', 0],
    ['odd_3.png', 1],
    ['odd_7.png', 1],
  ])
  writeFileSync(picture('odd_1'), whole)
  rmSync(picture('even_4'))
  const third = await train('damaged', 'damaged-run', 8)
  expect(third.code, third.err.join('\n')).toBe(0)
})

test('a run goes on with other data only where that is asked for, says what changed, and keeps it', async () => {
  const picture = copied('changing')
  expect((await train('changing', 'run', 8)).code).toBe(0)
  expect((await train('changing', 'run', 8)).code, 'nothing changed').toBe(0)
  copyFileSync(picture('odd_1'), picture('odd_9'))
  rmSync(picture('even_0'))
  // Contents exchanged under the same names, of the same size.
  expect(readFileSync(picture('even_4')).length).toBe(readFileSync(picture('even_6')).length)
  renameSync(picture('even_4'), at('between'))
  renameSync(picture('even_6'), picture('even_4'))
  renameSync(at('between'), picture('even_6'))
  const changes = '1 removed (even_0.png), 1 added (odd_9.png), 2 changed (even_4.png, even_6.png)'
  const state = join(at('run'), 'state.safetensors')
  const before = readFileSync(state)
  const refused = await train('changing', 'run', 16)
  expect([refused.code, refused.err.at(-1)]).toEqual([
    1,
    `tweedie: ${state} is of a run on other data: its images changed: ${changes}. --data-changed goes on ` +
      'with them as they are now.',
  ])
  expect(readFileSync(state).equals(before)).toBe(true)
  const accepted = await train('changing', 'run', 16, '--data-changed')
  expect(accepted.code, accepted.err.join('\n')).toBe(0)
  const history = [{ step: 2, what: `its images changed: ${changes}` }]
  expect(JSON.parse((await metadataOf(state)).counters)).toMatchObject({ step: 4, history })
  expect(JSON.parse((await metadataOf(join(at('run'), 'ema-0.5.safetensors'))).training)).toMatchObject({
    step: 4,
    history,
  })
  expect(readFileSync(join(at('run'), 'report.html'), 'utf8').replaceAll('<wbr>', '')).toContain(changes)
  expect((await tweedie(['info', state])).out.join('\n')).toContain(`after step 2: its images changed: ${changes}`)
  expect((await train('changing', 'run', 24)).code, "what was accepted is the run's").toBe(0)
  // A copy elsewhere is the same data.
  cpSync(at('changing'), at('moved'), { recursive: true })
  expect((await train('moved', 'run', 32)).code).toBe(0)
  expect(existsSync(join(at('run'), 'images.jsonl'))).toBe(true)
})

test('a run whose numbered classes were sorted as texts goes on only where that is asked for', async () => {
  for (const [k, name] of ['1', '2', '10', '10'].entries()) {
    mkdirSync(at(`numbered/${name}`), { recursive: true })
    copyFileSync(join(pictures, `even_${2 * k}.png`), at(`numbered/${name}/${k}.png`))
  }
  const run = (...more: string[]) => train('numbered', 'numbered-run', 8, ...more)
  expect((await run()).code).toBe(0)
  const model = join(at('numbered-run'), 'model.safetensors')
  expect((await metadataOf(model)).classes).toBe('["1","2","10"]')
  expect((await run()).code).toBe(0)
  // As it was before models kept the names.
  writeFileSync(model, Buffer.concat(encodeSafetensors([['x', { shape: [1], data: Float32Array.of(1) }]])))
  const { code, err } = await run()
  expect([code, err.at(-1)]).toEqual([
    1,
    expect.stringMatching(/other data: its classes are in another order: label 1 was 10 and is 2.*--data-changed goes/),
  ])
  expect((await run('--data-changed')).code).toBe(0)
  const { counters } = await metadataOf(join(at('numbered-run'), 'state.safetensors'))
  expect(counters).toContain('label 1 was 10 and is 2')
  expect((await run()).code, "what was accepted is the run's").toBe(0)
})

test('the record of the files is read as it was written; one that is not ours says nothing', async () => {
  const picture = copied('recorded')
  const { files } = await openImages(at('recorded'))
  files![0].whole = true
  const path = at('images.jsonl')
  await writeImageFiles(path, files!)
  const read = await readImageFiles(path)
  expect([...read.values()]).toEqual(files)
  expect(changedFiles(read, files)).toBe('')
  rmSync(picture('even_0'))
  expect(changedFiles(read, (await openImages(at('recorded'))).files)).toBe('1 removed (even_0.png)')
  writeFileSync(path, '{"name": "even_0.png"}\n')
  expect((await readImageFiles(path)).size).toBe(0)
  expect((await readImageFiles(at('nothing'))).size).toBe(0)
})
