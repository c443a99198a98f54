/** What the playground tells the command line and a reader's program: both take it, and draw the same. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { methods, start } from '../site/playground/state.ts'
import { commandOf, programOf, sampleOptionsOf, type Named } from '../site/playground/told.ts'
import { encodePng, Tweedie } from '../src/index.node.ts'
import { tweedie } from './cli.ts'

const out = mkdtempSync(join(tmpdir(), 'tweedie-told-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

const shipped: Named = { name: 'bccd32', classes: null }
const state = {
  ...start,
  seed: 3,
  number: 2,
  respacing: 3,
  'minority-target': 9,
  'guide-weight': 0.7,
  boost: 2.5,
} as const

test('the command draws what the page does, with every method that the shipped model has', async () => {
  const model = await Tweedie.load('bccd32', { backend: 'cpu', simd: 'plain' })
  for (const method of methods.filter((method) => method !== 'class-guided')) {
    const drawn: Uint8Array[] = []
    const options = sampleOptionsOf(state, method, shipped) as Parameters<Tweedie['sample']>[0]
    for await (const { images, done, total } of model.sample(options))
      if (done === total) drawn.push(...images.map(encodePng))
    const folder = join(out, method)
    const words = commandOf(state, method, shipped)
      .replace(/^npx tweedie /, '')
      .replace('--out drawn', `--out ${folder}`)
    await tweedie([...words.split(' '), '--backend', 'cpu', '--simd', 'plain'])
    const files = readdirSync(folder).filter((name) => /^sample-\d+\.png$/.test(name))
    expect(files, method).toHaveLength(2)
    files.sort().forEach((name, k) => {
      expect(Buffer.from(drawn[k]).equals(readFileSync(join(folder, name))), `${method} ${name}`).toBe(true)
    })
  }
  model.dispose()
})

test('a name that needs quotes has them, and files of a model are told', () => {
  const own: Named = {
    name: "my model's.pt",
    classes: 4,
    classifier: 'classes.pt',
    minorityClassifier: 'levels.safetensors',
    preset: '64x64_diffusion',
  }
  expect(commandOf(start, 'plain', own)).toBe(
    "npx tweedie sample --model 'my model'\\''s.pt' --preset 64x64_diffusion --labels 0 --number 6 --respacing 50 " +
      '--seed 0 --out drawn',
  )
  expect(commandOf({ ...start, label: 2 }, 'class-guided', own)).toContain(
    '--labels 2 --number 6 --respacing 50 --seed 0 --classifier classes.pt --target 2 --classifier-scale 1 ',
  )
  expect(sampleOptionsOf(start, 'plain', own)).toMatchObject({ labels: [0], classifierScale: 0 })
  expect(programOf(start, 'minority-guided', own)).toContain(
    "Tweedie.load('my model\\'s.pt', { preset: '64x64_diffusion', minorityClassifier: 'levels.safetensors' })",
  )
  expect(programOf(start, 'minority-guided', own)).toContain(
    "const options = { number: 6, steps: 50, seed: 0, labels: [0], method: 'minority-guided', scale: 2 }",
  )
})
