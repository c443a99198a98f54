/**
 * The built site as a visitor meets it, in Chromium without a GPU: when the home page's first picture has been drawn,
 * loading included; the longest task on the page's main thread until then; bytes before the first paint.
 *
 *     npm run page                  three visits, each in a browser of its own
 *     npm run page -- --visits 1
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { availableParallelism, cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { inChromium, type Opened } from '../test/browser/chromium.ts'
import { folder, isolation, serve, type Served } from '../test/browser/server.ts'

const { values } = parseArgs({ options: { visits: { type: 'string', default: '3' } } })

/** The bundle runs in bench/node_modules/.bench. */
const root = fileURLToPath(new URL('../../../', import.meta.url))
const serveFile = folder(join(root, 'site/dist')) as (path: string) => Buffer | null

interface Visit {
  /** Seconds from the click on a link to the page. */
  readonly firstPaint: number
  readonly firstPreview: number
  readonly done: number
  /** Milliseconds. */
  readonly longestTask: number
  /** KB of what was there before the first paint, as it lies there and as servers compress it; then of everything. */
  readonly beforePaint: number
  readonly compressed: number
  readonly inAll: number
  readonly adapter: string
}

/** What the page notes of itself, from its first script on. */
function watch(): void {
  const noted = { longestTask: 0 }
  Object.assign(globalThis, { noted })
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) noted.longestTask = Math.max(noted.longestTask, duration)
  }).observe({ type: 'longtask', buffered: true })
}

/** The bytes of a file of the site by its path there. */
const bytesAt = (path: string): Buffer => serveFile(path) ?? Buffer.alloc(0)
const kilobytes = (paths: readonly string[], size: (bytes: Buffer) => number): number =>
  paths.reduce((sum, path) => sum + size(bytesAt(path)), 0) / 1000
/** Pictures are compressed already. */
const compressedSize =
  (path: string) =>
  (bytes: Buffer): number =>
    /\.(png|woff2)$/.test(path) ? bytes.length : gzipSync(bytes).length

async function visit({ origin, requested }: Served, { page }: Opened): Promise<Visit> {
  await page.addInitScript(watch)
  const start = performance.now()
  const since = (): number => (performance.now() - start) / 1000
  await page.goto(`${origin}/`, { waitUntil: 'commit' })
  // A picture that is drawn is a canvas; those that stand there before are not.
  await page.locator('canvas').first().waitFor({ timeout: 600_000 })
  const firstPreview = since()
  await page.getByText('Drawn in your browser').waitFor({ timeout: 600_000 })
  const done = since()
  const found = await page.evaluate(() => {
    const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime
    const resources = performance.getEntriesByType('resource') as PerformanceResourceTiming[]
    return {
      firstPaint: paint / 1000,
      before: resources.filter(({ responseEnd }) => responseEnd <= paint).map(({ name }) => new URL(name).pathname),
      longestTask: (globalThis as unknown as { noted: { longestTask: number } }).noted.longestTask,
      adapter: document.querySelector('.live p span:nth-child(2)')?.textContent ?? '',
    }
  })
  const before = ['/', ...found.before]
  return {
    ...found,
    firstPreview,
    done,
    beforePaint: kilobytes(before, ({ length }) => length),
    compressed: before.reduce((sum, path) => sum + kilobytes([path], compressedSize(path)), 0),
    inAll: kilobytes(requested, ({ length }) => length),
  }
}

const visits: Visit[] = []
let browser = ''
for (let i = 0; i < Number(values.visits); i++) {
  const served = await serve({ serve: serveFile, headers: isolation })
  visits.push(
    await inChromium({ webgpu: false }, async (opened) => {
      browser = opened.context.browser()!.version()
      return await visit(served, opened)
    }),
  )
  await served.close()
}
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
console.log(
  `Tweedie ${version}, the site's home page in Chromium ${browser} without WebGPU, ` +
    `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores of ${cpus()[0].model}`,
)
console.log(`${visits[0].adapter.trim()}\n`)
const median = (of: (visit: Visit) => number): number =>
  visits.map(of).sort((a, b) => a - b)[Math.floor(visits.length / 2)]
const row = (name: string, of: (visit: Visit) => number, unit: string, aim = ''): string =>
  `| ${name} | ${median(of).toFixed(1)} ${unit} | ${visits.map((visit) => of(visit).toFixed(1)).join(', ')} | ${aim} |`
console.log(
  [
    '| | median | each visit | aim |',
    '| --- | --- | --- | --- |',
    row('first paint', ({ firstPaint }) => firstPaint, 's'),
    row('first preview', ({ firstPreview }) => firstPreview, 's'),
    row('pictures drawn', ({ done }) => done, 's', '20 s'),
    row('longest task on the main thread', ({ longestTask }) => longestTask, 'ms', '50 ms'),
    row('before first paint', ({ beforePaint }) => beforePaint, 'KB'),
    row('before first paint, compressed by gzip', ({ compressed }) => compressed, 'KB', '200 KB'),
    row('in all', ({ inAll }) => inAll, 'KB'),
  ].join('\n'),
)
