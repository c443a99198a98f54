/**
 * Pictures of the built site, to be looked at: its pages on a phone and on a desk, in light and in dark.
 *
 *     npm run screenshots -- FOLDER     default: out/screenshots
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { inChromium, viewports } from '../test/browser/chromium.ts'
import { folder, isolation, serve } from '../test/browser/server.ts'

/** The bundle runs in bench/node_modules/.bench. */
const root = fileURLToPath(new URL('../../../', import.meta.url))
const out = process.argv[2] ?? join(root, 'out/screenshots')
mkdirSync(out, { recursive: true })

const done = (page: Page): Promise<void> =>
  page.getByRole('tabpanel').getByText('Done', { exact: true }).first().waitFor({ timeout: 300_000 })

/** What is shown, by the picture's name: where it lies, and what is waited for. */
const shown: Readonly<Record<string, readonly [path: string, ready?: (page: Page) => Promise<unknown>]>> = {
  home: ['/', (page) => page.getByText('Drawn in your browser').waitFor({ timeout: 300_000 })],
  playground: ['/playground.html#seed=1&backend=cpu', done],
  score: [
    '/playground.html#number=1&respacing=2&backend=cpu',
    async (page) => {
      await done(page)
      await page.getByRole('tab', { name: 'Score' }).click()
      const picture = join(root, 'docs/quickstart.png')
      await page.getByRole('tabpanel').getByLabel('Pictures').setInputFiles(picture)
      await page.getByText('Scored 1 of 1').waitFor({ timeout: 300_000 })
    },
  ],
  guide: ['/docs/client.html'],
  reference: ['/api/tweedie/tensor.html'],
}

const served = await serve({ serve: folder(join(root, 'site/dist')), headers: isolation })
for (const viewport of Object.keys(viewports) as (keyof typeof viewports)[])
  for (const colorScheme of ['light', 'dark'] as const)
    await inChromium({ webgpu: false, viewport, colorScheme }, async ({ page, errors }) => {
      for (const [name, [path, ready]] of Object.entries(shown)) {
        await page.goto(served.origin + path)
        await ready?.(page)
        const file = join(out, `${name}-${viewports[viewport].width}-${colorScheme}.png`)
        writeFileSync(file, await page.screenshot())
        console.log(file)
      }
      for (const error of errors.splice(0)) console.log(error)
    })
await served.close()
