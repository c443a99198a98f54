/** examples/isolation-worker.js: a server without a header to its name, and a page with threads all the same. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { chromium, inChromium } from '../browser/chromium.ts'
import { folder, serve } from '../browser/server.ts'
import { packed } from '../packed.ts'

const installed = join(await packed(), 'node_modules/tweedie')
/** Files of a folder of its own, as GitHub Pages has them. */
const files = {
  '/project/isolation-worker.js': readFileSync(join(installed, 'examples/isolation-worker.js')),
  '/project/cpu-worker.js': readFileSync(join(installed, 'dist/browser/cpu-worker.js')),
  '/favicon.ico': '',
}
/** Visits are counted before the worker may load the page again: a module may not have run by then. */
const html = `<!doctype html><title>tweedie</title>
<script>globalThis.visits = sessionStorage.visits = Number(sessionStorage.visits ?? 0) + 1</script>
<script src="isolation-worker.js"></script>
<script type="module">
import { Device, square } from '../dist/browser/tweedie.min.js'
globalThis.compute = async (options) => {
  const device = await Device.request({ backend: 'cpu', ...options })
  const [value] = await square(device.tensor([3])).read()
  device.dispose()
  return { value, threads: /\\d+ threads?/.exec(device.adapter.name)[0] }
}
</script>`

describe.runIf(chromium)('a page on a server without headers', () => {
  const all = new Map<string, string | Buffer>([['/project/', html], ...Object.entries(files)])
  const site = { serve: (path: string) => all.get(path) ?? folder(installed)(path) }
  test('is loaded twice on the first visit, once later, and is isolated then, with threads', async () => {
    await using served = await serve({
      ...site,
      answer(_, response, path) {
        if (path !== '/project/moved') return false
        response.writeHead(302, { location: '/project/' }).end()
        return true
      },
    })
    await inChromium({ webgpu: false }, async ({ page, errors }) => {
      await page.goto(`${served.origin}/project/`)
      await page.waitForFunction('crossOriginIsolated && globalThis.compute')
      expect(await page.evaluate('visits')).toBe(2)
      const computed = (options: string): Promise<unknown> =>
        page.evaluate(`compute(${options}).catch(({ code }) => code)`)
      expect(await computed('{ threads: 2 }')).toEqual({ value: 9, threads: '2 threads' })
      expect(await computed("{ threads: 2, workerUrl: 'cpu-worker.js' }")).toEqual({ value: 9, threads: '2 threads' })
      // A file of another folder comes without the header, and the browser refuses it.
      expect(await computed("{ threads: 2, workerUrl: '../dist/browser/cpu-worker.js' }")).toBe('cpu-unavailable')
      errors.splice(0)
      for (const path of ['', 'moved']) {
        await page.goto(`${served.origin}/project/${path}`)
        await page.waitForFunction('globalThis.compute')
        expect(await page.evaluate('crossOriginIsolated')).toBe(true)
      }
      expect(await page.evaluate('visits')).toBe(4)
    })
  })

  test('has one thread where there are no service workers', async () => {
    await using served = await serve(site)
    await inChromium({ webgpu: false }, async ({ page }) => {
      await page.addInitScript("Object.defineProperty(Navigator.prototype, 'serviceWorker', { value: undefined })")
      await page.goto(`${served.origin}/project/`)
      await page.waitForFunction('globalThis.compute')
      expect(await page.evaluate('compute()')).toEqual({ value: 9, threads: '1 thread' })
      expect(await page.evaluate('visits')).toBe(1)
    })
  })
})
