/**
 * The examples, as a user copies them: the files of examples/ in the installed package (test/packed.ts), run from a
 * folder beside it, the pages in Chromium. Few steps, by the arguments and fields that each of them has.
 */
import { execFile, spawn } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'vite'
import { beforeAll, describe, expect, test } from 'vitest'
import { decodeImage } from '../../src/data/index.ts'
import { inChromium } from '../browser/chromium.ts'
import { folder as site, serve } from '../browser/server.ts'
import { chromium, html, isolation, posting, visit } from '../chromium.ts'
import { emptyProject } from '../packed.ts'

let folder = ''
let installed = ''
beforeAll(async () => {
  folder = await emptyProject()
  installed = join(folder, '../node_modules/tweedie')
  cpSync(join(installed, 'examples'), join(folder, 'examples'), { recursive: true })
})

/** What an example prints. Rejects unless it ends by itself, with exit code 0. */
const run = async (name: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, [`examples/${name}.js`, ...args], { cwd: folder })).stdout

const isPicture = (path: string): boolean => decodeImage(readFileSync(join(folder, path)), path).width > 0

test('each is in the table of their README, short, and run by these tests', () => {
  const files = readdirSync(join(installed, 'examples'))
    .filter((name) => name !== 'README.md')
    .sort()
  expect(files).toEqual([
    'client.html',
    'guidance.js',
    'isolation-worker.js',
    'page.html',
    'react.jsx',
    'sample.js',
    'score.js',
    'serve.js',
    'train.js',
  ])
  const page = readFileSync(join(installed, 'examples/README.md'), 'utf8')
  expect([...page.matchAll(/\[([\w-]+\.\w+)\]\(\1\)/g)].map(([, name]) => name).sort()).toEqual(files)
  for (const name of files)
    expect(readFileSync(join(installed, 'examples', name), 'utf8').split('\n').length, name).toBeLessThan(100)
})

test('sample.js draws four pictures, and score.js sorts them', async () => {
  const drawn = await run('sample', '2', 'cells')
  expect(drawn).toContain('step 2 of 2\n')
  const names = [0, 1, 2, 3].map((k) => `cell-${k}.png`)
  expect(names.every((name) => isPicture(join('cells', name)))).toBe(true)
  const scored = [...(await run('score', 'cells', '1')).matchAll(/^(\d+\.\d{3}) {2}(\S+)$/gm)].map(
    ([, score, name]) => ({ score: Number(score), name }),
  )
  expect(scored.map(({ name }) => name).sort()).toEqual(names)
  expect(scored.map(({ score }) => score)).toEqual(scored.map(({ score }) => score).sort((a, b) => b - a))
})

test('guidance.js moves the colours towards violet', async () => {
  const said = await run('guidance', '8', 'violet')
  const [plain, violet] = ['plain', 'violet'].map((name) =>
    (new RegExp(`^${name}: .*blue (.*)$`, 'm').exec(said)?.[1] ?? '').split(', ').map(Number),
  )
  const distance = (colour: number[] = []): number =>
    Math.hypot(...[0.2, -0.2, 0.5].map((wanted, i) => wanted - colour[i]))
  expect(distance(violet)).toBeLessThan(0.75 * distance(plain))
  expect(isPicture('violet/violet-3.png')).toBe(true)
})

test('train.js that is stopped goes on to the bits of the training undisturbed', async () => {
  const child = spawn(process.execPath, ['examples/train.js', '100000', 'stopped'], { cwd: folder })
  let said = ''
  child.stdout.on('data', (text: Buffer) => {
    if (said === '') child.kill('SIGINT')
    said += text.toString()
  })
  expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(0)
  const steps = Number(/the model after step (\d+)/.exec(said)?.[1]) + 2
  for (const name of ['stopped', 'whole'])
    expect(await run('train', String(steps), name)).toContain(`after step ${steps}.`)
  expect(
    readFileSync(join(folder, 'stopped/model.safetensors')).equals(
      readFileSync(join(folder, 'whole/model.safetensors')),
    ),
  ).toBe(true)
  expect(isPicture('stopped/disc-7.png')).toBe(true)
})

test('serve.js serves the pages isolated, and nothing outside the package', async () => {
  const child = spawn(process.execPath, ['examples/serve.js', '0'], { cwd: folder })
  try {
    const said = await new Promise<string>((resolve) =>
      child.stdout.once('data', (text: Buffer) => resolve(text.toString())),
    )
    const address = /http:\S+page\.html/.exec(said)?.[0] ?? ''
    const page = await fetch(address)
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html'])
    for (const [name, value] of Object.entries(isolation)) expect(page.headers.get(name)).toBe(value)
    expect(await page.text()).toBe(readFileSync(join(folder, 'examples/page.html'), 'utf8'))
    for (const path of ['/nothing', '/..%2f..%2fpackage.json', '/%', '/'])
      expect((await fetch(new URL(path, address))).status, path).toBe(404)
  } finally {
    child.kill()
  }
})

describe.runIf(chromium)('in Chromium', () => {
  /** Draws three steps, then begins a thousand and stops. */
  const driver = posting(`
    const [steps, draw, stop, bar, said, samples] = ['steps', 'draw', 'stop', 'bar', 'said', 'samples'].map((id) => document.getElementById(id))
    const until = async (fits) => { while (!fits()) await new Promise((resolve) => setTimeout(resolve, 20)) }
    const coloursOf = (canvas) => {
      const context = new OffscreenCanvas(32, 32).getContext('2d')
      context.drawImage(canvas, 0, 0)
      return new Set(context.getImageData(0, 0, 32, 32).data).size
    }
    const ended = () => until(() => /Done|Stopped|Error/.test(said.textContent))
    async function run() {
      steps.value = 3
      draw.click()
      await ended()
      const drawn = said.textContent
      const pictures = [...samples.children].map(coloursOf)
      steps.value = 1000
      draw.click()
      await until(() => bar.value < 1 && bar.value > 0 && !/Loading|Done/.test(said.textContent))
      stop.click()
      await ended()
      return { drawn, pictures, stopped: said.textContent, isolated: crossOriginIsolated }
    }`)

  test.each(['page', 'client'])('%s.html draws, and stops', async (name) => {
    const serve = (path: string): string | Buffer | null => {
      if (path === '/') return `<script>location.replace('/examples/${name}.html')</script>`
      if (!/^\/(examples|dist\/browser|weights)\/[\w.-]+$/.test(path)) return null
      const file = readFileSync(join(installed, path))
      return path.endsWith('.html') ? html(`${file.toString()}<script type="module">${driver}</script>`) : file
    }
    const { result } = await visit<{ error?: string; drawn: string; pictures: number[]; stopped: string }>({
      serve,
      headers: isolation,
    })
    expect(result).toMatchObject({ drawn: 'Done.', stopped: 'Stopped.', isolated: true })
    expect(result.pictures).toHaveLength(8)
    for (const colours of result.pictures) expect(colours).toBeGreaterThan(16)
  })

  test('react.jsx, built by Vite as it is, draws and stops in StrictMode, and ends with its component', async () => {
    const project = await emptyProject({ types: ['react', 'react-dom', 'scheduler'] })
    cpSync(join(installed, 'examples/react.jsx'), join(project, 'react.jsx'))
    writeFileSync(
      join(project, 'index.html'),
      '<link rel="icon" href="data:,"><div id="root"></div><script type="module" src="main.jsx"></script>',
    )
    writeFileSync(
      join(project, 'main.jsx'),
      `import { StrictMode } from 'react'
      import { createRoot } from 'react-dom/client'
      import { Cells } from './react.jsx'
      globalThis.root = createRoot(document.getElementById('root'))
      globalThis.show = (props) => root.render(<StrictMode><Cells {...props} /></StrictMode>)
      show({ number: 2, steps: 3 })`,
    )
    await build({ root: project, configFile: false, logLevel: 'error' })
    const built = site(join(project, 'dist'))
    await using served = await serve({
      serve: (path) => (path.startsWith('/weights/') ? readFileSync(join(installed, path)) : built(path)),
      headers: isolation,
    })
    await inChromium({ webgpu: false }, async ({ page }) => {
      await page.goto(served.origin)
      await page.getByRole('button', { name: 'Draw' }).click()
      await page.getByText('Done.').waitFor()
      await page.evaluate('show({ number: 2, steps: 500 })')
      await page.getByRole('button', { name: 'Draw' }).click()
      await page.getByText(/^Step \d+ of 500$/).waitFor()
      await page.getByRole('button', { name: 'Stop' }).click()
      await page.getByText('Stopped.').waitFor()
      await page.getByRole('button', { name: 'Draw' }).click()
      await page.getByText(/^Step \d+ of 500$/).waitFor()
      // Of the two mounts of StrictMode one worker is left, and none when there is no component any more.
      expect(page.workers().filter((worker) => worker.url().includes('worker.min'))).toHaveLength(1)
      await page.evaluate('root.unmount()')
      // Chromium gives a thread that sleeps two seconds to end by itself.
      await expect.poll(() => page.workers().length, { timeout: 20_000 }).toBe(0)
    })
  })
})
