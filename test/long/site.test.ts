/**
 * The built site (`npm run site`): every link and every anchor leads somewhere, every page has its twin in Markdown and
 * fits a phone, the dark is dark, and the search finds without a server. What its pages compute is tested by
 * playground.test.ts.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { inChromium } from '../browser/chromium.ts'
import { folder, isolation, serve } from '../browser/server.ts'
import { builtSite } from '../browser/site.ts'

const dist = await builtSite()
const files = readdirSync(dist, { recursive: true }).map(String)
// Those of examples/ are pages of their own, shown as they are.
const pages = files.filter((file) => file.endsWith('.html') && !/^(404|examples\/(?!index)|dist\/)/.test(file))
const html = new Map(pages.map((page) => [page, readFileSync(join(dist, page), 'utf8')]))
const ids = new Map(
  [...html].map(([page, text]) => [page, new Set(Array.from(text.matchAll(/ id="([^"]+)"/g), ([, id]) => id))]),
)

test('has the pages of docs, models, examples and the reference', () => {
  for (const page of [
    'index',
    'playground',
    'docs/errors',
    'weights/bccd32-adm',
    'examples/index',
    'api/tweedie/tensor',
  ])
    expect(pages).toContain(`${page}.html`)
})

test('every link leads to a file of the site, and every anchor to a place on its page', () => {
  const lost: string[] = []
  let followed = 0
  for (const [page, text] of html) {
    for (const [, attribute] of text.matchAll(/ (?:href|src)="([^"]*)"/g)) {
      if (/^\w+:/.test(attribute)) continue
      const [path, anchor] = attribute.replaceAll('&amp;', '&').split('#')
      const from = path.startsWith('/') ? dist : dirname(join(dist, page))
      const target =
        path === '' ? join(dist, page) : resolve(from, `.${path.startsWith('/') ? '' : '/'}${decodeURI(path)}`)
      const name = relative(dist, path.endsWith('/') ? join(target, 'index.html') : target)
      followed++
      if (!existsSync(join(dist, name))) lost.push(`${page}: ${attribute}`)
      // What is behind # on a link to the playground is what it draws.
      else if (anchor && !anchor.includes('=') && ids.has(name) && !ids.get(name)!.has(decodeURIComponent(anchor)))
        lost.push(`${page}: ${attribute}`)
    }
  }
  expect(followed).toBeGreaterThan(2000)
  expect([...new Set(lost)]).toEqual([])
})

test('every page has its twin in Markdown, and llms.txt names the guides', () => {
  const twin = (page: string): string => (page === 'index.html' ? 'index.md' : page.replace(/(\/index)?\.html$/, '.md'))
  expect(pages.map(twin).filter((file) => !files.includes(file))).toEqual([])
  const list = readFileSync(join(dist, 'llms.txt'), 'utf8')
  expect(pages.filter((page) => page.startsWith('docs/') && !list.includes(twin(page)))).toEqual([])
})

// Chromium's renderer ended by itself once in four runs ("Page crashed"), beside two other browsers: then once more.
test('no page scrolls sideways on a phone, and in the dark all are dark', { retry: 1 }, async () => {
  await using served = await serve({ serve: folder(dist), headers: isolation })
  await inChromium({ viewport: 'phone', colorScheme: 'dark', webgpu: false }, async ({ page }) => {
    const wrong: string[] = []
    for (const name of pages) {
      await page.goto(`${served.origin}/${name}`, { waitUntil: 'load' })
      const { width, light } = await page.evaluate(() => {
        const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\d+/g)!.map(Number)
        return { width: document.documentElement.scrollWidth, light: Math.max(red, green, blue) }
      })
      if (width > 400) wrong.push(`${name} is ${width} wide`)
      if (light > 60) wrong.push(`${name} is light`)
    }
    expect(wrong).toEqual([])
  })
})

test('the search finds what a page says', async () => {
  await using served = await serve({ serve: folder(dist), headers: isolation })
  await inChromium({ webgpu: false }, async ({ page }) => {
    await page.goto(`${served.origin}/docs/node.html`)
    await page.getByRole('button', { name: 'Search' }).click()
    await page.getByRole('searchbox').fill('limit-exceeded')
    await page.getByRole('option').filter({ hasText: 'limit-exceeded' }).first().click()
    await page.waitForURL('**/docs/errors.html*')
  })
})
