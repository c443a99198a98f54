/** A page that has the packed package's client, served and not bundled, for the tests of `tweedie/client`. */
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import type { TweedieClient as Client } from '../src/client/index.ts'
import { inChromium, type BrowserOptions } from './browser/chromium.ts'
import { folder, isolation, serve, type Headers } from './browser/server.ts'
import { packed } from './packed.ts'

/** The files of the package. */
export const installed = folder(join(await packed(), 'node_modules/tweedie'))

declare global {
  /** What the page has: the module's exports, options of most cases, and what they show of pictures and errors. */
  var TweedieClient: typeof Client
  var own: { readonly weights: string; readonly backend: 'cpu'; readonly simd: 'plain' }
  var pixels: (bitmap: ImageBitmap) => number[]
  var said: (error: unknown) => string
}

const html = `<!doctype html><title>client</title><link rel="icon" href="data:,"><script type="module">
import * as module from '/dist/browser/client.min.js'
const pixels = (bitmap) => {
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')
  context.drawImage(bitmap, 0, 0)
  return [...context.getImageData(0, 0, bitmap.width, bitmap.height).data]
}
const said = (error) => error instanceof module.TweedieError ? error.code + ': ' + error.message : 'not typed: ' + error
Object.assign(globalThis, module, { pixels, said, own: { weights: 'weights/', backend: 'cpu', simd: 'plain' } })
</script>`

const pages: Readonly<Record<string, string>> = {
  '/': html,
  '/throws.js': 'throw new Error("from the script")',
  '/old.js': 'postMessage({ version: "0.0.1" })',
  '/other.js': 'postMessage(null)',
}

/** What `use` makes of a page that is served the package; `headers` of all it is served, beside isolation. */
export async function inPage<Result>(
  use: (page: Page, errors: string[]) => Promise<Result>,
  headers: Headers | ((path: string) => Headers) = {},
  options: BrowserOptions = {},
): Promise<Result> {
  await using served = await serve({
    serve: (path) => pages[path] ?? installed(path),
    headers: (path) => ({ ...isolation, ...(typeof headers === 'function' ? headers(path) : headers) }),
  })
  return await inChromium(options, async ({ page, errors }) => {
    await page.goto(served.origin)
    return use(page, errors)
  })
}
