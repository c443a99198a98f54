/**
 * The tables of docs/csp.md in Chromium: with each row's policy, beside `default-src 'none'`, a page of the installed
 * package draws what Node draws; with any source or header left out it says what the second table says.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { chromium as playwright, type Browser, type BrowserContext } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Image } from '../../src/data/index.ts'
import { Tweedie } from '../../src/tweedie/index.node.ts'
import { read } from '../blocks.ts'
import { chromium } from '../browser/chromium.ts'
import { serve, type Served } from '../browser/server.ts'
import { packed } from '../packed.ts'

const installed = join(await packed(), 'node_modules/tweedie')
const launch = {
  executablePath: chromium as string,
  args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'],
  env: { ...process.env, VK_DRIVER_FILES: undefined },
}

/** The cells of a table's rows, by the first cell of its head. */
const table = (head: string): string[][] =>
  new RegExp(`^\\| ${head} .*\\n\\| ---.*\\n((?:\\|.*\\n)+)`, 'm')
    .exec(read('docs/csp.md'))![1]
    .trim()
    .split('\n')
    .map((row) =>
      row
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
const code = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text!)

/** What a row allows: `script-src 'self'`, a source at a time, and headers. */
interface Row {
  readonly where: string
  readonly options: string
  readonly sources: readonly string[]
  readonly headers: readonly string[]
}
const rows = table('where it computes').map(
  ([where, options, policy, headers]): Row => ({
    where: where!,
    options: code(options!)[0],
    sources: code(policy!)[0]
      .split('; ')
      .flatMap((directive) => {
        const [name, ...values] = directive.split(' ')
        return values.map((value) => `${name} ${value}`)
      }),
    headers: code(headers!),
  }),
)
const leftOut = new Map(table('left out').map(([what, seen]) => [code(what!)[0], seen!]))

function policyOf(sources: readonly string[]): string {
  const directives = new Map<string, string[]>([['default-src', ["'none'"]]])
  for (const source of sources) {
    const [name, value] = source.split(' ') as [string, string]
    directives.set(name, [...(directives.get(name) ?? []), value])
  }
  return [...directives].map(([name, values]) => [name, ...values].join(' ')).join('; ')
}
const headersOf = (headers: readonly string[]): Record<string, string> =>
  Object.fromEntries(headers.map((header) => header.split(': ').map((part) => part.toLowerCase())))

interface Result {
  readonly error?: string
  readonly adapter?: string
  readonly pixels?: readonly number[]
  /** Tasks of the page that ran while it drew. */
  readonly tasks?: number
}

/** What a page runs: it draws one cell in two steps. What takes half a minute to be given up takes a second. */
function program({ where, options }: Row, library = '/tweedie/tweedie.min.js'): string {
  const isClient = where.includes('Client')
  return `
import { ${isClient ? 'TweedieClient as Tweedie' : 'Tweedie'} } from '${isClient ? '/tweedie/client.min.js' : library}'
globalThis.started = true
const after = setTimeout
globalThis.setTimeout = (call, ms, ...rest) => after(call, ms === 30_000 ? 1000 : ms, ...rest)
function pixelsOf(bitmap) {
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')
  context.drawImage(bitmap, 0, 0)
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height)
  return [...data].filter((_, i) => i % 4 < 3)
}
globalThis.result = (async () => {
  const model = await Tweedie.load('bccd32', { weights: '/weights/', batch: 1, simd: 'plain', ${options} })
  let tasks = 0
  const timer = setInterval(() => tasks++, 1)
  let last = []
  for await (const { images } of model.sample({ number: 1, steps: 2, seed: 3 })) last = images
  clearInterval(timer)
  const { name: adapter } = (${isClient} ? model.info : model.device).adapter
  const pixels = ${isClient} ? pixelsOf(last[0]) : [...last[0].data]
  model.dispose()
  return { adapter, pixels, tasks }
})().catch(({ code, message }) => ({ error: code + ': ' + message }))`
}

/** The page's files at a path. */
const files: Record<string, string | Buffer> = {}
function fileAt(path: string): string | Buffer | null {
  if (path in files) return files[path]
  const file = path.startsWith('/weights/')
    ? join(installed, path)
    : join(installed, 'dist/browser', path.replace(/^\/tweedie\//, ''))
  return statSync(file, { throwIfNoEntry: false })?.isFile() ? readFileSync(file) : null
}

const html = '<!doctype html><title>tweedie</title><script type="module" src="/page.js"></script>'
const notStarted: Result = { error: 'nothing of the page runs' }

/** What a page at `url` comes to. */
async function visit(context: BrowserContext, url: string): Promise<Result> {
  const page = await context.newPage()
  try {
    // A module that is loaded has run by then; one that is refused leaves nothing.
    await page.goto(url, { waitUntil: 'load' })
    return (await page.evaluate('globalThis.started'))
      ? ((await page.evaluate('globalThis.result')) as Result)
      : notStarted
  } finally {
    await page.close()
  }
}

describe.runIf(chromium)('in Chromium', () => {
  let browser: Browser
  let headers: Record<string, string> = {}
  let served: Served
  let expected: number[] = []

  beforeAll(async () => {
    served = await serve({ serve: fileAt, headers: () => headers })
    browser = await playwright.launch(launch)
    using model = await Tweedie.load('bccd32', { backend: 'cpu', batch: 1, simd: 'plain' })
    let pictures: readonly Image[] = []
    for await (const { images } of model.sample({ number: 1, steps: 2, seed: 3 })) pictures = images
    expected = [...pictures[0].data]
  })
  afterAll(async () => {
    await browser?.close()
    await served?.close()
  })

  async function inPage(row: Row): Promise<Result> {
    const { sources, headers: extra } = row
    files['/'] = html
    files['/page.js'] = program(row)
    headers = { 'content-security-policy': policyOf(sources), ...headersOf(extra) }
    const context = await browser.newContext()
    try {
      return await visit(context, served.origin)
    } finally {
      await context.close()
    }
  }

  /** The same from an extension's files: in a page of it, or in its service worker, bundled into one file. */
  async function inExtension(row: Row): Promise<Result> {
    const { where, sources, headers: extra } = row
    const folder = mkdtempSync(join(tmpdir(), 'tweedie-extension-'))
    const extension = join(folder, 'extension')
    mkdirSync(extension)
    const inWorker = where.includes('service worker')
    try {
      for (const name of ['dist/browser', 'weights'])
        cpSync(join(installed, name), join(extension, name.replace('dist/browser', 'tweedie')), { recursive: true })
      writeFileSync(join(extension, 'page.html'), html)
      writeFileSync(join(extension, 'page.js'), program(row))
      await build({
        stdin: { contents: program(row, 'tweedie'), resolveDir: join(installed, '../..'), loader: 'js' },
        bundle: true,
        format: 'esm',
        outfile: join(extension, 'background.js'),
        logLevel: 'error',
        ...(!inWorker && { stdin: { contents: '', loader: 'js' } }),
      })
      const { 'cross-origin-opener-policy': opener, 'cross-origin-embedder-policy': embedder } = headersOf(extra)
      writeFileSync(
        join(extension, 'manifest.json'),
        JSON.stringify({
          manifest_version: 3,
          name: 'tweedie',
          version: '1',
          background: { service_worker: 'background.js', type: 'module' },
          content_security_policy: { extension_pages: policyOf(sources) },
          ...(opener && { cross_origin_opener_policy: { value: opener } }),
          ...(embedder && { cross_origin_embedder_policy: { value: embedder } }),
        }),
      )
      const context = await playwright.launchPersistentContext(join(folder, 'profile'), {
        ...launch,
        channel: undefined,
        ignoreDefaultArgs: ['--disable-extensions', '--headless'],
        args: [
          ...launch.args,
          '--headless=new',
          '--disable-features=DisableLoadExtensionCommandLineSwitch',
          `--disable-extensions-except=${extension}`,
          `--load-extension=${extension}`,
        ],
      })
      try {
        const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent('serviceworker'))
        if (inWorker) return (await worker.evaluate('globalThis.result')) as Result
        return await visit(context, new URL('page.html', worker.url()).href)
      } finally {
        await context.close()
      }
    } finally {
      rmSync(folder, { recursive: true, force: true, maxRetries: 20 })
    }
  }

  const run = (row: Row): Promise<Result> => (row.where.includes('extension') ? inExtension(row) : inPage(row))
  const threadsIn = ({ adapter = '' }: Result): string =>
    /no threads|1 thread\b|\d+ threads/.exec(adapter)?.[0] ?? 'GPU'

  describe.each(rows)('$where', (row) => {
    const { sources, headers: extra } = row
    test('draws', async () => {
      const found = await run(row)
      expect(found.error).toBeUndefined()
      if (!row.options.includes('webgpu')) expect(found.pixels).toEqual(expected)
      expect(found.pixels).toHaveLength(expected.length)
      if (extra.length > 0) expect(threadsIn(found)).toMatch(/^([2-9]|\d\d) threads$/)
      if (row.options.includes('threads: 0')) {
        expect(threadsIn(found)).toBe('no threads')
        expect(found.tasks, 'between the batches').toBeGreaterThan(3)
      }
    })
    // Chromium does not let an extension's policy go below this.
    const least = row.where.includes('extension') ? ["script-src 'self'"] : []
    test.each(sources.filter((source) => !least.includes(source)))('not without %s', async (source) => {
      const { error = 'nothing' } = await run({ ...row, sources: sources.filter((one) => one !== source) })
      const [seen, ...named] = code(leftOut.get(source)!)
      if (seen === undefined) return expect(leftOut.get(source)).toContain(error)
      expect(error).toMatch(new RegExp(`^${seen}: `))
      for (const word of named) expect(error).toContain(word)
    })
    test.each(extra)('has one thread without %s', async (header) => {
      expect(leftOut.get(header)).toContain('1 thread')
      const found = await run({ ...row, headers: extra.filter((one) => one !== header) })
      expect(found.error).toBeUndefined()
      expect(found.pixels).toEqual(expected)
      expect(threadsIn(found)).toBe('1 thread')
    })
  })

  describe('a file for the threads', () => {
    const row = rows.find(({ options, where }) => options.includes('workerUrl') && !where.includes('extension'))!
    test.each([
      ['is not there', '/nowhere.js', /could not start: a worker thread failed.*\/nowhere\.js.*tweedie\/cpu-worker/],
      ['is of another version', '/stale.js', /could not start: a worker thread is another program than this version's/],
      ['is another program', '/other.js', /could not start: a worker thread is another program than this version's/],
      ['never answers', '/silent.js', /could not start: a worker thread has said nothing for 30 s/],
      ['lies on another origin', 'http://localhost:1/cpu-worker.js', /could not start.*on the page's own origin/],
    ])('%s', async (_, url, message) => {
      const file = readFileSync(join(installed, 'dist/browser/cpu-worker.js'), 'utf8')
      files['/other.js'] = 'postMessage(null)'
      files['/silent.js'] = ' '
      files['/stale.js'] = file.replaceAll(/"[0-9a-f]{16}"/g, '"0123456789abcdef"')
      expect(files['/stale.js']).not.toBe(file)
      const { error } = await inPage({ ...row, options: `backend: 'cpu', workerUrl: '${url}'` })
      expect(error).toMatch(/^cpu-unavailable: /)
      expect(error).toMatch(message)
    })
  })
})
