/**
 * The CPU backend in Firefox and WebKit, as Debian has them, on the pages of the examples, in the page itself and in a
 * client's worker, and on the site: it loads, draws, stops, and draws again after a reload, with threads where the page
 * is isolated and without.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { others, type OtherBrowser } from '../browser/others.ts'
import { folder, isolation, serve } from '../browser/server.ts'
import { builtSite } from '../browser/site.ts'
import { packed } from '../packed.ts'

const installed = join(await packed(), 'node_modules/tweedie')

const site = (headers: Readonly<Record<string, string>>) =>
  serve({
    serve: (path) =>
      /^\/(examples|dist\/browser|weights)\/[\w.-]+$/.test(path) ? readFileSync(join(installed, path)) : null,
    headers,
  })

const built = await builtSite()
const patient = { timeout: 240_000, interval: 100 }

const said = (browser: OtherBrowser): Promise<string> => browser.evaluate("document.getElementById('said').textContent")

/** Clicks Draw once the page's script has loaded; what is said then is polled, as a user looks at it. */
async function draw(browser: OtherBrowser, steps: number): Promise<void> {
  await expect.poll(() => browser.evaluate("!!document.getElementById('draw').onclick"), patient).toBe(true)
  await browser.evaluate(`void (document.getElementById('steps').value = ${steps})`)
  await browser.evaluate("document.getElementById('draw').click()")
}

/** The number of different values in each picture, whatever kind of context shows it. */
const colours = (browser: OtherBrowser): Promise<number[]> =>
  browser.evaluate(`[...document.querySelectorAll('canvas')].map((canvas) => {
    const context = document.createElement('canvas').getContext('2d')
    context.drawImage(canvas, 0, 0)
    return new Set(context.getImageData(0, 0, 32, 32).data).size
  })`)

describe.each(Object.entries(others))('%s', (name, open) => {
  // One for all tests: their servers have ports of their own, so that nothing that a page stores is another's.
  let browser: OtherBrowser
  beforeAll(async () => {
    if (open) browser = await open()
  })
  afterAll(() => browser?.[Symbol.asyncDispose]())

  test.runIf(open).each([
    ['page', true],
    ['page', false],
    ['client', true],
  ])('%s.html, isolated: %s', async (example, isolated) => {
    await using served = await site(isolated ? isolation : {})
    await browser.goto(`${served.origin}/examples/${example}.html`)
    expect(await browser.evaluate('crossOriginIsolated')).toBe(isolated)

    await browser.evaluate(
      'window.all = [], new MutationObserver(() => all.push(said.textContent)).observe(said, { childList: true })',
    )
    await draw(browser, 3)
    await expect.poll(() => said(browser), patient).toBe('Done.')
    // WebKitGTK, unlike Safari, has no SharedArrayBuffer in isolated pages either.
    const shares = await browser.evaluate<boolean>("typeof SharedArrayBuffer === 'function'")
    if (name === 'Firefox') expect(shares).toBe(isolated)
    const adapter = shares ? /^Drawing on CPU, [2-9]\d* threads/ : /^Drawing on CPU, 1 thread/
    expect((await browser.evaluate<string[]>('window.all')).find((text) => text.startsWith('Drawing'))).toMatch(adapter)
    const drawn = await colours(browser)
    expect(drawn).toHaveLength(8)
    for (const count of drawn) expect(count).toBeGreaterThan(16)

    await draw(browser, 1000)
    await expect.poll(() => said(browser), patient).toMatch(/^Drawing on CPU/)
    await expect
      .poll(() => browser.evaluate<number>("document.getElementById('bar').value"), patient)
      .toSatisfy((value: number) => value > 0 && value < 0.5)
    await browser.evaluate("document.getElementById('stop').click()")
    await expect.poll(() => said(browser), patient).toBe('Stopped.')

    await browser.reload()
    await draw(browser, 2)
    await expect.poll(() => said(browser), patient).toBe('Done.')
    expect(browser.errors ?? []).toEqual([])
  })

  test.runIf(open)('a worker that computes by itself starts others where that is safe', async () => {
    await using served = await serve({
      serve: (path) => {
        if (path === '/') return '<!doctype html><link rel="icon" href="data:,">'
        if (path !== '/worker.js') return readFileSync(join(installed, path))
        return `import { Device } from '/dist/browser/tweedie.min.js'
          postMessage(await Device.request({ backend: 'cpu' }).then(({ adapter }) => adapter.name, String))`
      },
      headers: isolation,
    })
    await browser.goto(served.origin)
    const adapter = await browser.evaluate<string>(`new Promise((resolve) => {
      new Worker('/worker.js', { type: 'module' }).onmessage = ({ data }) => resolve(data)
    })`)
    expect(adapter).toMatch(name === 'Firefox' ? /^CPU, no threads/ : /^CPU, \d+ threads?/)
  })

  test.runIf(open)('the home page of the site', async () => {
    await using served = await serve({ serve: folder(built), headers: isolation })
    const words = (): Promise<string> => browser.evaluate("document.querySelector('.live p span')?.textContent ?? ''")
    await browser.goto(`${served.origin}/`)
    await expect.poll(words, patient).toMatch(/^Drawing in your browser, step ([2-9]|\d\d) of 40$/)
    const drawn = await colours(browser)
    expect(drawn).toHaveLength(12)
    for (const count of drawn) expect(count).toBeGreaterThan(16)

    // Others are drawn from the first step on, in place of these.
    await browser.evaluate(`void (window.all = [], new MutationObserver(() =>
      all.push(document.querySelector('.live p span').textContent)
    ).observe(document.querySelector('.live'), { subtree: true, childList: true, characterData: true }))`)
    await browser.evaluate("document.querySelector('.live button').click()")
    await expect
      .poll(() => browser.evaluate<string[]>('all'), patient)
      .toContain('Drawing in your browser, step 1 of 40')

    await browser.reload()
    await expect.poll(words, patient).toMatch(/^Drawing in your browser, step \d/)
    expect(browser.errors ?? []).toEqual([])
  })

  test.runIf(open)('the playground of the site', async () => {
    await using served = await serve({ serve: folder(built), headers: isolation })
    const link = (steps: number): string => `#number=1&respacing=${steps}&b=none&backend=cpu`
    const words = (): Promise<string> => browser.evaluate("document.querySelector('.words span')?.textContent ?? ''")
    await browser.goto(`${served.origin}/playground.html${link(3)}`)
    await expect.poll(words, patient).toBe('Done')
    const drawn = await colours(browser)
    expect(drawn).toHaveLength(1)
    expect(drawn[0]).toBeGreaterThan(16)

    await browser.evaluate(`void (location.hash = '${link(250)}')`)
    await expect.poll(words, patient).toMatch(/^Drawing, \d/)
    await browser.evaluate("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Stop').click()")
    await expect.poll(words, patient).toBe('Stopped')

    await browser.evaluate(`void (location.hash = '${link(2)}')`)
    await expect.poll(words, patient).toBe('Done')
    await browser.reload()
    await expect.poll(words, patient).toBe('Done')
    expect(browser.errors ?? []).toEqual([])
  })
})
