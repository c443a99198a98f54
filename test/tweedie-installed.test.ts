/**
 * `Tweedie` as users meet it: from the installed package, in Node and in a page, by a few lines that
 * show the same pictures.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { chromium, html, isolation, posting, visit } from './chromium.ts'
import { emptyProject } from './packed.ts'

/** Two pictures' bytes as they are shown, and what they score. */
const program = (set: string): string => `
async function run() {
  const model = await Tweedie.load('bccd32', { ${set}backend: 'cpu', simd: 'plain' })
  let shown = 0
  for await (const { images, done, total } of model.sample({ number: 2, steps: 2, method: 'minority-guided', preview: true })) {
    shown++
    if (done < total) continue
    const scores = await model.score(images.map(imageDataOf))
    model.dispose()
    return { shown, pictures: images.map((image) => [...encodePng(image)]), scores: [...scores], alive: model.device.stats.liveBuffers }
  }
}`

interface Result {
  readonly error?: string
  readonly shown: number
  readonly pictures: number[][]
  readonly scores: number[]
  readonly alive: number
}

let [folder, inNode]: [string?, Result?] = []
beforeAll(async () => {
  folder = await emptyProject()
  writeFileSync(
    join(folder, 'program.mjs'),
    `import { encodePng, imageDataOf, Tweedie } from 'tweedie'\n${program('')}\n` +
      'console.log(JSON.stringify(await run()))',
  )
  inNode = JSON.parse(execFileSync(process.execPath, ['program.mjs'], { cwd: folder, encoding: 'utf8' })) as Result
})

test('in Node the shipped set is found in the package, and draws what the command line draws', () => {
  const cli = join(folder!, '../node_modules/tweedie')
  execFileSync(
    process.execPath,
    [
      join(cli, 'bin/tweedie.js'),
      'sample',
      '--model',
      join(cli, 'weights/bccd32-adm.safetensors'),
      '--method',
      'minority-guided',
      '--minority-classifier',
      join(cli, 'weights/bccd32-minority.safetensors'),
      '--respacing',
      '2',
      '--number',
      '2',
      '--out',
      'drawn',
      '--backend',
      'cpu',
      '--simd',
      'plain',
    ],
    { cwd: folder, stdio: 'ignore' },
  )
  const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
  expect(inNode!.pictures.map((png) => sum(Uint8Array.from(png)))).toEqual(
    [0, 1].map((k) => sum(readFileSync(join(folder!, `drawn/sample-000${k}.png`)))),
  )
  expect(inNode!.shown).toBe(2)
  expect(inNode!.alive).toBe(0)
  for (const score of inNode!.scores) expect(score).toBeGreaterThan(0)
})

describe.runIf(chromium)('in Chromium', () => {
  test('a page that serves the weights shows the same pictures', async () => {
    const installed = join(folder!, '../node_modules/tweedie')
    const page = html(
      `<script type="module">import { encodePng, imageDataOf, Tweedie } from '/tweedie/tweedie.min.js'\n` +
        `${posting(program("weights: '/weights/', "))}</script>`,
    )
    const serve = (path: string): string | Buffer | null => {
      const [, room, name] = /^\/(tweedie|weights)\/([\w.-]+)$/.exec(path) ?? []
      if (room === undefined) return path === '/' ? page : null
      return readFileSync(join(installed, room === 'weights' ? 'weights' : 'dist/browser', name))
    }
    const { result, requested } = await visit<Result>({ serve, headers: isolation })
    expect(result.error).toBeUndefined()
    expect(result).toEqual(inNode)
    // They are asked for at the same time.
    expect(requested.filter((path) => path.startsWith('/weights/')).sort()).toEqual(
      ['adm', 'features', 'minority'].map((name) => `/weights/bccd32-${name}.safetensors`),
    )
  })
})
