/** The bench page of the built site: what it measures, what it says where it cannot, and what a link carries. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import { describe, expect, test } from 'vitest'
import { chromium, inChromium, type BrowserOptions, type Opened } from '../browser/chromium.ts'
import { folder, isolation, serve } from '../browser/server.ts'
import { builtSite } from '../browser/site.ts'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const files = folder(await builtSite())

/** In the place of the CDN: a tfjs that multiplies, a jax-js whose products are wrong, and nothing else. */
const standIns: Readonly<Record<string, string>> = {
  'tf-core.min.js': `globalThis.tf = {
    tensor: (data, shape) => ({ data: async () => data, values: data, shape, dispose() {} }),
    matMul({ values: a, shape: [m, k] }, { values: b, shape: [, n] }) {
      const y = new Float32Array(m * n)
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) for (let c = 0; c < k; c++) y[i * n + j] += a[i * k + c] * b[c * n + j]
      return tf.tensor(y, [m, n])
    },
    reshape: (x) => x, slice: (x) => x, tidy: (f) => f(), setBackend: async () => true,
  }`,
  'tf-backend-wasm.min.js': '',
  'index.js': `
    const array = (data) => ({ data: async () => data, reshape: () => array(data), blockUntilReady() {}, dispose() {},
      get ref() { return this } })
    export const init = async (device) => [device], defaultDevice = () => {}, jit = (f) => f, lax = {}, nn = {}
    export const numpy = { array, matmul: () => array(new Float32Array(8 * 128).fill(1)) }`,
}
const site = () =>
  serve({
    serve(path) {
      const found = files(path)
      if (path.startsWith('/cdn/')) return standIns[path.slice(path.lastIndexOf('/') + 1)] ?? null
      return found && path.endsWith('.js')
        ? found.toString().replaceAll('https://cdn.jsdelivr.net/npm/', '/cdn/')
        : found
    },
    headers: isolation,
  })

async function at(
  link: string,
  options: BrowserOptions,
  use: (opened: Opened & { readonly open: (link: string) => Promise<void> }) => Promise<void>,
): Promise<void> {
  await using served = await site()
  await inChromium(options, async (opened) => {
    const open = async (link: string): Promise<void> => {
      // Another hash alone would load nothing anew.
      await opened.page.goto('about:blank')
      await opened.page.goto(`${served.origin}/bench.html${link}`)
      await opened.page.getByRole('heading', { name: 'Bench', exact: true }).waitFor()
    }
    await open(link)
    await use({ ...opened, open })
  })
}
const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true })
const is = (page: Page, word: string) =>
  expect.poll(() => page.getByRole('status').first().textContent(), { timeout: 120_000 }).toBe(word)
const rows = (page: Page): Promise<string[]> => page.locator('tbody tr').allInnerTexts()

async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
  )
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 160)}`)
}

describe.runIf(chromium)('the bench page', () => {
  test('measures on the CPU beside others, who are told apart from those that are wrong or absent; links', async () => {
    const link = '#backend=cpu&shapes=toy-8&ops=matmul&peers=tfjs,litert,jax&effort=quick'
    await at(
      link,
      { webgpu: false, viewport: 'phone', colorScheme: 'dark' },
      async ({ page, context, errors, open }) => {
        await context.grantPermissions(['clipboard-read', 'clipboard-write'])
        await button(page, 'Measure').focus()
        await page.keyboard.press('Enter')
        await is(page, 'Done')
        // What the CDN has not is an error of the page's console, too.
        expect(errors.splice(0).every((text) => text.includes('404'))).toBe(true)
        const found = await rows(page)
        expect(found[0]).toMatch(/^matmul, 8 x 256 times 256 x 128\s/)
        expect(found).toContainEqual(expect.stringMatching(/: Tweedie, wall clock\s+\d/))
        expect(found).toContainEqual(expect.stringMatching(/: tfjs 4\.22\.0, wall clock\s+\d.*times ours/s))
        expect(found).toContainEqual(expect.stringMatching(/: jax-js .* off: not timed/s))
        expect(found).toContainEqual(expect.stringMatching(/: LiteRT\.js.*did not load/s))
        await page.locator('.roofline circle').first().waitFor()
        expect(await faults(page)).toEqual([])
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(400)

        await button(page, 'Link to the figures').click()
        await page.getByText('is on the clipboard').waitFor()
        const address = await page.evaluate(() => navigator.clipboard.readText())
        await open(address.slice(address.indexOf('#')))
        await page.getByText('Somebody shared these figures').waitFor()
        expect(await page.locator('.who').textContent()).toMatch(/^CPU.*; Chrome \d+, Linux; 20\d\d-/)
        expect((await rows(page))[0]).toBe(found[0])
        await open(`${address.slice(address.indexOf('#'), -20)}&color=red`)
        await expect.poll(() => page.getByRole('alert').textContent()).toMatch(/holds no report/)
      },
    )
  })

  test('a software adapter is named as such, and its figures go into no link; what runs is stopped', async () => {
    const link = '#backend=webgpu&shapes=toy-8&ops=softmax&effort=quick'
    await at(link, {}, async ({ page, open }) => {
      await button(page, 'Measure').click()
      await is(page, 'Done')
      await page.getByText('these are no GPU figures').waitFor()
      expect((await rows(page)).map((row) => row.split('\t')[0])).toEqual([
        'softmax, 512 rows of 64',
        'softmax, 512 rows of 64, recorded',
      ])
      expect(await button(page, 'Link to the figures').isDisabled()).toBe(true)
      expect(await faults(page)).toEqual([])
      await open('#backend=webgpu&shapes=adm-64&ops=conv2d&effort=patient')
      await button(page, 'Measure').click()
      await is(page, 'Measuring')
      await button(page, 'Stop').click()
      await is(page, 'Stopped')
    })
  })
})
