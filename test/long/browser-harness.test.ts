/** What the browser tests rest on: a browser that is what it is asked to be, and whose errors fail a test. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { chromium, hide, inChromium, viewports } from '../browser/chromium.ts'
import { isolation, serve } from '../browser/server.ts'

const page = (script = ''): string =>
  `<!doctype html><title>page</title><link rel="icon" href="data:,"><script>${script}</script>`
const sites: Readonly<Record<string, string>> = {
  '/': page(),
  '/isolated': page(),
  '/throws': page("setTimeout(() => { throw new Error('from the page') })"),
  '/worker': page('new Worker(URL.createObjectURL(new Blob([\'throw new Error("from the worker")\'])))'),
  '/missing': page("fetch('/nothing')"),
}
const site = () =>
  serve({ serve: (path) => sites[path] ?? null, headers: (path) => (path === '/isolated' ? isolation : {}) })

describe.runIf(chromium)('a browser', () => {
  test('has WebGPU or not, is isolated by headers, has the size and the colours that are asked for', async () => {
    await using served = await site()
    const look =
      (at: string) =>
      async ({ page }: { page: import('playwright-core').Page }) => {
        await page.goto(served.origin + at)
        return page.evaluate(async () => [
          !!(await navigator.gpu?.requestAdapter()),
          crossOriginIsolated,
          innerWidth,
          matchMedia('(prefers-color-scheme: dark)').matches,
        ])
      }
    const desk = viewports.desk.width
    expect(await inChromium({}, look('/'))).toEqual([true, false, desk, false])
    const phone = { webgpu: false, viewport: 'phone', colorScheme: 'dark' } as const
    expect(await inChromium(phone, look('/isolated'))).toEqual([false, true, viewports.phone.width, true])
  })

  test('keeps what pages stored where it is given a profile again', async () => {
    await using served = await site()
    const profile = mkdtempSync(join(tmpdir(), 'tweedie-profile-'))
    try {
      const visit = async ({ page }: { page: import('playwright-core').Page }) => {
        await page.goto(served.origin)
        return page.evaluate(() => {
          const before = localStorage.getItem('visits')
          localStorage.setItem('visits', 'one')
          return before
        })
      }
      expect(await inChromium({ profile, webgpu: false }, visit)).toBeNull()
      expect(await inChromium({ profile, webgpu: false }, visit)).toBe('one')
    } finally {
      rmSync(profile, { recursive: true, force: true, maxRetries: 20 })
    }
  })

  test.each([
    ['/throws', /from the page/],
    ['/worker', /from the worker/],
    ['/missing', /404.*\/nothing/],
  ])('whose page fails, %s, fails', async (path, message) => {
    await using served = await site()
    const visit = inChromium({ webgpu: false }, async ({ page, errors }) => {
      await page.goto(served.origin + path)
      await expect.poll(() => errors.length).toBeGreaterThan(0)
    })
    await expect(visit).rejects.toThrow(message)
  })

  test('hides a tab behind another', async () => {
    await using served = await site()
    await inChromium({ webgpu: false }, async ({ page }) => {
      await page.goto(served.origin)
      const visible = () => page.evaluate(() => document.visibilityState)
      expect(await visible()).toBe('visible')
      const hidden = await hide(page)
      expect(await visible()).toBe('hidden')
      await hidden.show()
      expect(await visible()).toBe('visible')
    })
  })

  test('keeps what a page downloads', async () => {
    await using served = await site()
    await inChromium({ webgpu: false }, async ({ page, downloads }) => {
      await page.goto(served.origin)
      await page.evaluate(() => {
        const href = URL.createObjectURL(new Blob(['kept']))
        Object.assign(document.createElement('a'), { href, download: 'file.txt' }).click()
      })
      await expect.poll(() => existsSync(join(downloads, 'file.txt'))).toBe(true)
      expect(readFileSync(join(downloads, 'file.txt'), 'utf8')).toBe('kept')
    })
  })
})
