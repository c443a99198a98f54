/**
 * `tweedie/client` where pages differ: one that is not isolated, one with WebGPU, those of docs/client.md, and one that
 * esbuild made. Policies are test/long/csp.test.ts's; what it does where nothing is in its way is client.test.ts's.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as esbuild from 'esbuild'
import * as vite from 'vite'
import { describe, expect, test } from 'vitest'
import { blocks } from '../blocks.ts'
import { chromium, inChromium } from '../browser/chromium.ts'
import { folder, isolation, serve, type Site } from '../browser/server.ts'
import { inPage, installed } from '../client-page.ts'
import { emptyProject, packed } from '../packed.ts'

const [unbundled, bundled] = blocks
  .filter(({ page, language }) => page === 'docs/client.md' && language === 'html')
  .map(({ code }) => `<link rel="icon" href="data:,">${code.replace('steps: 50', 'steps: 2')}`)

describe.runIf(chromium)('in Chromium', () => {
  test('where the page is not isolated the worker computes on one thread', async () => {
    const name = await inPage(
      (page) => page.evaluate(async () => (await TweedieClient.load('bccd32', own)).info.adapter.name),
      { 'cross-origin-opener-policy': 'unsafe-none', 'cross-origin-embedder-policy': 'unsafe-none' },
    )
    expect(name).toBe('CPU, 1 thread, SIMD')
  })

  test('on WebGPU it draws, too, and stops', async () => {
    const found = await inPage((page) =>
      page.evaluate(async () => {
        const client = await TweedieClient.load('bccd32', { weights: '/weights/', backend: 'webgpu', batch: 1 })
        const level = (await client.stats()).liveBytes
        let shown = 0
        for await (const { images } of client.sample({ number: 1, steps: 2, preview: true })) shown += images.length
        for await (const _ of client.sample({ number: 1, steps: 100 })) break
        return { backend: client.info.adapter.backend, shown, left: (await client.stats()).liveBytes - level }
      }),
    )
    expect(found).toEqual({ backend: 'webgpu', shown: 2, left: 0 })
  })

  test('the first page of docs/client.md draws', async () => {
    await using served = await serve({
      serve: (path) => (path === '/' ? unbundled : installed(path.replace('/node_modules/tweedie', ''))),
      headers: isolation,
    })
    await inChromium({ webgpu: false }, async ({ page }) => {
      await page.goto(served.origin)
      const colours = (): Promise<number[]> =>
        page.evaluate(() =>
          [...document.querySelectorAll('canvas')].map((canvas) => {
            const context = new OffscreenCanvas(32, 32).getContext('2d')!
            context.drawImage(canvas, 0, 0)
            return new Set(context.getImageData(0, 0, 32, 32).data).size
          }),
        )
      await expect.poll(async () => Math.min(...(await colours())), { timeout: 30_000 }).toBeGreaterThan(16)
    })
  })

  /** Whether a page that leaves its client in `client` has a model. */
  async function loads(site: Site['serve']): Promise<void> {
    await using served = await serve({ serve: (path) => site(path) ?? installed(path), headers: isolation })
    await inChromium({ webgpu: false }, async ({ page }) => {
      await page.goto(served.origin)
      await page.waitForFunction('globalThis.client?.info.imageSize === 32')
    })
  }

  test('the second page of docs/client.md loads, built by Vite', async () => {
    const project = await emptyProject()
    writeFileSync(join(project, 'index.html'), bundled.replace('</script>', 'globalThis.client = client\n</script>'))
    await vite.build({ root: project, configFile: false, logLevel: 'error' })
    await loads(folder(join(project, 'dist')))
  })

  test('a page that esbuild built loads by a copy of the worker', async () => {
    const out = mkdtempSync(join(tmpdir(), 'tweedie-esbuild-'))
    try {
      await esbuild.build({
        stdin: {
          contents: `
            import { TweedieClient } from 'tweedie/client'
            const createWorker = () => new Worker('/worker.min.js')
            globalThis.client = await TweedieClient.load('bccd32', { weights: '/weights/', createWorker })`,
          resolveDir: await packed(),
        },
        bundle: true,
        format: 'esm',
        outfile: join(out, 'page.js'),
        logLevel: 'error',
      })
      const own = folder(out)
      await loads((path) => {
        if (path === '/') return '<link rel="icon" href="data:,"><script type="module" src="page.js"></script>'
        return path === '/worker.min.js' ? installed('/dist/browser/worker.min.js') : own(path)
      })
    } finally {
      rmSync(out, { recursive: true })
    }
  })
})
