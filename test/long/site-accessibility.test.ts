/** The pages of the built site, looked at by axe in light and in dark: nothing serious, nothing critical. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import { describe, expect, test } from 'vitest'
import { chromium, inChromium } from '../browser/chromium.ts'
import { folder, isolation, serve } from '../browser/server.ts'
import { builtSite } from '../browser/site.ts'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const dist = await builtSite()
/** The examples are files of the package, and the bundles none. */
const all = readdirSync(dist, { recursive: true })
  .map(String)
  .filter((name) => name.endsWith('.html') && !name.startsWith('examples/'))
  .sort((a, b) => statSync(join(dist, a)).size - statSync(join(dist, b)).size)
/** Of the reference two pages of each folder: one program makes them all, and axe takes long for a long one. */
const pages = all.filter((name, k) => {
  const [room, folder] = name.split('/')
  return room !== 'api' || all.slice(0, k).filter((other) => other.startsWith(`api/${folder}/`)).length < 2
})

/** What axe holds for serious or critical, each with the first place where it is. */
async function faults(page: Page, rules?: string[]): Promise<string[]> {
  type Axe = { run(options: object): Promise<AxeResults> }
  if (!(await page.evaluate('globalThis.axe !== undefined'))) await page.evaluate(axe)
  const { violations } = await page.evaluate((options) => (globalThis as unknown as { axe: Axe }).axe.run(options), {
    resultTypes: ['violations'],
    ...(rules && { runOnly: rules }),
  })
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.length} times, ${nodes[0].html.slice(0, 160)}`)
}

describe.runIf(chromium)('axe finds nothing serious', () => {
  test('on any page, in light and in dark', async () => {
    await using served = await serve({ serve: folder(dist), headers: isolation })
    await inChromium({ webgpu: false, colorScheme: 'light' }, async ({ page }) => {
      const found: Record<string, string[]> = {}
      for (const name of pages) {
        await page.emulateMedia({ colorScheme: 'light' })
        await page.goto(`${served.origin}/${name}`)
        const light = await faults(page)
        await page.emulateMedia({ colorScheme: 'dark' })
        await expect.poll(() => page.evaluate("document.documentElement.classList.contains('dark')")).toBe(true)
        // Nothing but colours is another.
        const dark = await faults(page, ['color-contrast'])
        if (light.length + dark.length > 0) found[name] = [...light, ...dark]
      }
      expect(found).toEqual({})
    })
  })

  test.each(['light', 'dark'] as const)(
    'in the playground on a phone, while it draws and after, %s',
    async (colorScheme) => {
      await using served = await serve({ serve: folder(dist), headers: isolation })
      await inChromium({ webgpu: false, viewport: 'phone', colorScheme }, async ({ page }) => {
        await page.goto(`${served.origin}/playground.html#number=2&respacing=10&backend=cpu`)
        const is = (word: string) =>
          expect
            .poll(() => page.getByRole('tabpanel').getByRole('status').first().textContent(), { timeout: 120_000 })
            .toBe(word)
        await is('Drawing')
        expect(await faults(page)).toEqual([])
        await is('Done')
        expect(await faults(page)).toEqual([])
        await page.getByRole('tab', { name: 'Score' }).click()
        expect(await faults(page)).toEqual([])
      })
    },
  )
})
