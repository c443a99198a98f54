/**
 * The run.json of a run that a page drew: steps of the shipped model by the published package in Chromium, replayed
 * by the command line. On the CPU the pictures are the same to the byte; those of WebGPU differ from them by 1 of 255
 * at most. In Node: test/long/tweedie-record.test.ts.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { decodeImage } from '../../src/data/index.ts'
import type { RunRecord, TweedieSampleOptions } from '../../src/tweedie/index.ts'
import { chromium, inChromium } from '../browser/chromium.ts'
import { folder, isolation, serve } from '../browser/server.ts'
import { temporaryFolder, tweedie } from '../cli.ts'
import { packed } from '../packed.ts'

const out = temporaryFolder()
const installed = join(await packed(), 'node_modules/tweedie')

const methods: Readonly<Record<string, TweedieSampleOptions>> = {
  plain: {},
  'self-guided': { method: 'self-guided', selfGuidance: { every: 3 } },
  'minority-guided': { method: 'minority-guided', target: [5, 9], scale: 2 },
  'boost-and-skip': { method: 'boost-and-skip', skip: 2 },
}

/** What the page makes of each of its runs. */
interface Drawn {
  readonly record: RunRecord
  /** The bytes of the pictures' files. */
  readonly pngs: readonly (readonly number[])[]
}

const page = `<!doctype html><title>tweedie</title><link rel="icon" href="data:,"><script type="module">
import { encodePng, Tweedie } from '/dist/browser/tweedie.min.js'
globalThis.draw = async (backend, number, steps, methods) => {
  const model = await Tweedie.load('bccd32', { weights: '/weights/', backend, simd: 'plain', threads: 2, batch: 2 })
  const drawn = {}
  for (const [name, options] of Object.entries(methods)) {
    let last
    for await (const step of model.sample({ number, steps, seed: 4, ...options })) last = step
    drawn[name] = { record: await model.record(last), pngs: last.images.map((image) => [...encodePng(image)]) }
  }
  model.dispose()
  return drawn
}
</script>`

/** By SwiftShader not by the U-Net's gradient, which it compiles for a minute: test/long/browser.test.ts does. */
async function inPage(
  backend: 'cpu' | 'webgpu',
  number: number,
  steps: number,
): Promise<Readonly<Record<string, Drawn>>> {
  const { 'self-guided': guided, ...others } = methods
  const wanted = backend === 'cpu' ? { 'self-guided': guided, ...others } : others
  const files = folder(installed)
  await using site = await serve({ serve: (path) => (path === '/' ? page : files(path)), headers: isolation })
  return await inChromium({}, async ({ page }) => {
    await page.goto(site.origin)
    await page.waitForFunction('globalThis.draw')
    return (await page.evaluate(`draw('${backend}', ${number}, ${steps}, ${JSON.stringify(wanted)})`)) as Record<
      string,
      Drawn
    >
  })
}

/** Replays a record in a folder of its own; gives what was said and the pictures. */
async function replayed(
  name: string,
  { record }: Drawn,
  ...argv: readonly string[]
): Promise<{ said: string; pictures: Buffer[] }> {
  mkdirSync(out(name))
  writeFileSync(join(out(name), 'run.json'), JSON.stringify(record))
  const run = await tweedie(['replay', join(out(name), 'run.json'), ...argv])
  expect(run.code, run.err.join('\n')).toBe(0)
  return { said: run.out.join('\n'), pictures: record.samples.map(({ file }) => readFileSync(join(out(name), file))) }
}

describe.runIf(chromium)('in Chromium', () => {
  test('on the CPU: replay draws the same files', async () => {
    for (const [name, drawn] of Object.entries(await inPage('cpu', 2, 20))) {
      expect(drawn.record).toMatchObject({
        status: 'done',
        options: { model: 'bccd32-adm.safetensors', features: 'bccd32-features.safetensors', seed: 4, number: 2 },
        adapter: { backend: 'cpu', architecture: 'wasm-simd' },
      })
      const { said, pictures } = await replayed(`cpu-${name}`, drawn)
      expect(said, name).toContain('2 of 2 pictures are the same to the byte.')
      expect(pictures.map((png) => [...png])).toEqual(drawn.pngs)
    }
  })

  test('on WebGPU: replay on the CPU draws the same pictures to 1 of 255', async () => {
    for (const [name, drawn] of Object.entries(await inPage('webgpu', 1, 6))) {
      expect(drawn.record.adapter.backend).toBe('webgpu')
      const { pictures } = await replayed(`webgpu-${name}`, drawn, '--backend', 'cpu')
      const [here, there] = [pictures[0], Uint8Array.from(drawn.pngs[0])].map((png) => [...decodeImage(png, name).data])
      expect(Math.max(...here.map((value, i) => Math.abs(value - there[i]))), name).toBeLessThanOrEqual(1)
    }
  })
})
