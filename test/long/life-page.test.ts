/**
 * The life of a page that draws: its GPU dies, it is hidden, frozen, left and come back to, beside another, reloaded
 * again and again. The installed package in Chromium, on the CPU and on WebGPU (SwiftShader where there is no GPU).
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { beforeAll, describe, expect, test } from 'vitest'
import { chromium, crashGpu, hide, inChromium, processes } from '../browser/chromium.ts'
import { isolation, serve, type Served } from '../browser/server.ts'
import type { TweedieOptions } from '../../src/tweedie/load.ts'
import type { TweedieSampleOptions } from '../../src/tweedie/sample-settings.ts'
import { packed } from '../packed.ts'

interface Drawn {
  readonly values: number[]
  readonly recovered: number
  /** How many steps it told of. */
  readonly steps: number
}

/** What the page has for the tests. */
declare const on: {
  load(options: Sent): Promise<void>
  /** From here on what is loaded comes from memory. */
  keepFiles(): Promise<void>
  draw(options: TweedieSampleOptions, stopAfter?: number): Promise<Drawn>
  /** Steps of the run that draws now. */
  done: number
  /** The end of that run. */
  drawn: Promise<Drawn>
  /** Draws, and aborts in the first step. */
  abort(options: TweedieSampleOptions): Promise<void>
  /** Whether the page was frozen; the tensors it had when it was left; whether it came back as it was. */
  frozen?: boolean
  left?: number
  restored?: boolean
  model: { dispose(): void; device: { stats: { liveBuffers: number; liveBytes: number } } }
}

const program = `
import { Tweedie } from '/tweedie/dist/browser/tweedie.min.js'
import { TweedieClient } from '/tweedie/dist/browser/client.min.js'
globalThis.on = {
  async abort(options) {
    const controller = new AbortController()
    setTimeout(() => controller.abort('enough'))
    const error = await on.draw({ ...options, signal: controller.signal }).catch((error) => error)
    if (error !== 'enough') throw error
  },
  async load({ client = false, ...options }) {
    on.model?.dispose()
    const [model, files] = on.files ?? ['bccd32', { weights: '/tweedie/weights/' }]
    on.model = await (client ? TweedieClient : Tweedie).load(model, { ...files, batch: 2, ...options })
  },
  async keepFiles() {
    const get = async (name) => (await fetch('/tweedie/weights/bccd32-' + name + '.safetensors')).arrayBuffer()
    const [model, features, minorityClassifier] = await Promise.all(['adm', 'features', 'minority'].map(get))
    on.files = [model, { minorityClassifier, distance: { features } }]
  },
  async draw(options, stopAfter = Infinity) {
    let last
    let steps = 0
    on.done = 0
    for await (const step of on.model.sample(options)) {
      last = step
      steps++
      on.done = step.done
      if (steps === stopAfter) break
    }
    return { values: [...(last.values ?? [])], recovered: last.recovered ?? 0, steps }
  },
}`

let installed: string
beforeAll(async () => void (installed = join(await packed(), 'node_modules/tweedie')))

const empty = '<!doctype html><title>page</title><link rel="icon" href="data:,">'
const site = (): Promise<Served> =>
  serve({
    serve: (path) => {
      if (path === '/') return `${empty}<script type="module">${program}</script>`
      if (path === '/elsewhere') return empty
      return path.startsWith('/tweedie/') ? readFileSync(join(installed, path.slice('/tweedie/'.length))) : null
    },
    headers: isolation,
  })

const open = async (page: Page, { origin }: Served, options: Sent): Promise<void> => {
  await page.goto(origin)
  await page.waitForFunction('globalThis.on')
  await page.evaluate((options) => on.load(options), options)
}

/** Draws to the end. */
const draw = (page: Page, options: TweedieSampleOptions): Promise<Drawn> =>
  page.evaluate((options) => on.draw(options), options)

/** Begins, and returns after the first step. */
async function begin(page: Page, options: TweedieSampleOptions): Promise<void> {
  await page.evaluate((options) => void (on.drawn = on.draw(options)), options)
  await page.waitForFunction(() => on.done > 0, undefined, { polling: 20 })
}
const end = (page: Page): Promise<Drawn> => page.evaluate(() => on.drawn)

/** What `page.evaluate` can send. */
type Sent = Pick<TweedieOptions, 'backend' | 'threads' | 'simd'> & { readonly client?: boolean }

const backends: Sent[] = [{ backend: 'cpu', threads: 2, simd: 'plain' }, { backend: 'webgpu' }]
/** On SwiftShader a guided step takes seconds. */
const settingsOf = ({ backend }: Sent): TweedieSampleOptions =>
  backend === 'cpu' ? { number: 2, steps: 40, method: 'minority-guided' } : { number: 1, steps: 6 }
const seconds = (n: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1000 * n))

describe.runIf(chromium)('a page', () => {
  test.each([
    ['itself', {}],
    ['by a client in a worker', { client: true }],
  ])('that draws %s and whose GPU process dies goes on where it was', async (_, client) => {
    await using served = await site()
    await inChromium({}, async ({ page }) => {
      await open(page, served, { backend: 'webgpu', ...client })
      const settings = settingsOf({ backend: 'webgpu' })
      const undisturbed = await draw(page, settings)
      expect(undisturbed.recovered).toBe(0)
      await begin(page, settings)
      await crashGpu(page)
      expect(await end(page)).toEqual({ ...undisturbed, recovered: 1 })
    })
  })

  test.each(backends)('on $backend that is hidden, frozen or left in mid-run draws on', async (options) => {
    await using served = await site()
    await inChromium({}, async ({ page, context }) => {
      const session = await context.newCDPSession(page)
      await open(page, served, options)
      const undisturbed = await draw(page, settingsOf(options))
      await begin(page, settingsOf(options))
      const hidden = await hide(page)
      expect(await end(page)).toEqual(undisturbed)
      expect(await page.evaluate(() => document.hidden)).toBe(true)
      await hidden.show()

      await page.evaluate(() => document.addEventListener('freeze', () => (on.frozen = true)))
      await begin(page, settingsOf(options))
      const behind = await hide(page)
      await session.send('Page.setWebLifecycleState', { state: 'frozen' })
      await seconds(2)
      await session.send('Page.setWebLifecycleState', { state: 'active' })
      await behind.show()
      expect(await end(page)).toEqual(undisturbed)
      expect(await page.evaluate(() => on.frozen)).toBe(true)

      // Who is left holds no device, and has another one when one comes back.
      await begin(page, settingsOf(options))
      await page.evaluate(() => {
        addEventListener('pagehide', () => (on.left = on.model.device.stats.liveBuffers))
        addEventListener('pageshow', ({ persisted }) => (on.restored = persisted))
      })
      await page.goto(`${served.origin}/elsewhere`)
      await seconds(1)
      await page.goBack({ waitUntil: 'commit' })
      await page.waitForFunction(() => on.restored)
      expect(await page.evaluate(() => on.left), 'tensors of a page in the cache').toBe(0)
      expect(await end(page)).toEqual({ ...undisturbed, recovered: 1 })
    })
  })

  test('whose client draws is left, and draws on when one comes back', async () => {
    await using served = await site()
    await inChromium({}, async ({ page }) => {
      const options = { ...backends[0], client: true }
      await open(page, served, options)
      const undisturbed = await draw(page, settingsOf(options))
      await begin(page, settingsOf(options))
      await page.evaluate(() => addEventListener('pageshow', ({ persisted }) => (on.restored = persisted)))
      await page.goto(`${served.origin}/elsewhere`)
      await seconds(2)
      await page.goBack({ waitUntil: 'commit' })
      await page.waitForFunction(() => on.restored)
      expect(await end(page)).toEqual({ ...undisturbed, recovered: 1 })
    })
  })

  test.each(backends)('on $backend beside another that draws, too', async (options) => {
    await using served = await site()
    await inChromium({}, async ({ page, context }) => {
      await open(page, served, options)
      const other = await context.newPage()
      await open(other, served, options)
      const [one, two] = [0, 1].map((seed) => ({ ...settingsOf(options), seed }))
      const undisturbed = [await draw(page, one), await draw(other, two)]
      expect(await Promise.all([draw(page, one), draw(other, two)])).toEqual(undisturbed)
      expect(undisturbed[0].values).not.toEqual(undisturbed[1].values)
    })
  })

  // A device is 10 MB of weights, on the CPU 60 MB of memory; on SwiftShader 10 s of compiling, too.
  test.each([
    ['cpu', 5, 30],
    ['webgpu', 2, 12],
  ])('on %s takes no more after 20 runs and %d reloads than before', async (backend, reloads, most) => {
    const options = backends.find((options) => options.backend === backend)!
    await using served = await site()
    await inChromium({}, async ({ page, context }) => {
      const session = await context.newCDPSession(page)
      const measure = async () => {
        await session.send('HeapProfiler.collectGarbage')
        // The protocol's types are older than the browser.
        const usage = (await session.send('Runtime.getHeapUsage')) as unknown as Record<string, number>
        const { liveBuffers, liveBytes } = await page.evaluate(() => on.model.device.stats)
        const { usedSize: heap, backingStorageSize: arrays } = usage
        return { heap, arrays, liveBuffers, liveBytes, ...(await processes(page)) }
      }
      const settings = { number: 2, steps: 2, preview: true }
      const run = async (k: number): Promise<void> => {
        if (k % 4 === 1) await page.evaluate((settings) => on.draw(settings, 1), settings)
        else if (k % 4 === 3) await page.evaluate((settings) => on.abort(settings), settings)
        else await draw(page, settings)
      }
      await open(page, served, options)
      for (let k = 0; k < 4; k++) await run(k)
      const after4 = await measure()
      // The files are 10 MB, and gone.
      expect(after4.arrays).toBeLessThan(4 * 2 ** 20)
      for (let k = 4; k < 20; k++) await run(k)
      const after20 = await measure()
      expect(after20.liveBuffers).toBe(after4.liveBuffers)
      expect(after20.liveBytes).toBe(after4.liveBytes)
      // Each of 16 runs made pictures and values of 84 KB: one that keeps them keeps 1.3 MB. Caches take 0.5 MB.
      expect(after20.heap + after20.arrays - after4.heap - after4.arrays).toBeLessThan(2 ** 20)

      // Chromium takes some seconds to let go of a page.
      const grown = (before: { renderer: number; GPU: number }) => async (): Promise<string[]> => {
        const now = await measure()
        return (['renderer', 'GPU'] as const).flatMap((kind) =>
          now[kind] > before[kind] + most * 2 ** 20 ? [`${kind}: ${before[kind]} before, ${now[kind]} now`] : [],
        )
      }
      const settled = { timeout: 30_000, interval: 1000 }
      for (let k = 0; k < reloads; k++) {
        await open(page, served, options)
        await run(0)
      }
      await expect.poll(grown(after20), settled).toEqual([])
      // In one page, from bytes that it has: for what it fetches Chromium itself takes 180 MB.
      await page.evaluate((options) => on.keepFiles().then(() => on.load(options)), options)
      await run(0)
      const before = await measure()
      for (let k = 0; k < reloads; k++) {
        await page.evaluate((options) => on.load(options), options)
        await run(0)
      }
      await expect.poll(grown(before), settled).toEqual([])
    })
  })
})
