/**
 * Files that a browser keeps, in Chromium: what a second visit asks for, and what damage, a closed tab, a second tab, a
 * full disk and an abort leave. What differs between browsers also in Firefox and WebKit.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import type { Page } from 'playwright-core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { chromium, inChromium, type Opened } from '../browser/chromium.ts'
import { others } from '../browser/others.ts'
import { bccd32, shippedHashes } from '../../src/tweedie/shipped.ts'
import { fileServer, type FileServer } from '../file-server.ts'
import { packed } from '../packed.ts'

const MiB = 2 ** 20
const { outputFiles } = await build({
  stdin: {
    contents: `
      import * as io from 'tweedie/io'
      import { Tweedie } from 'tweedie'
      Object.assign(globalThis, { io, Tweedie })
      globalThis.onmessage = async ({ data: [url, options] }) => {
        const source = await io.cachedSource(url, options)
        postMessage([source.size, (await source.read(0, 1))[0], source.note, await io.isCached(url)])
      }`,
    resolveDir: await packed(),
  },
  bundle: true,
  write: false,
  format: 'esm',
  platform: 'browser',
})
const pages: Readonly<Record<string, readonly [type: string, body: string]>> = {
  '/': [
    'text/html',
    '<!doctype html><title>cache</title><link rel="icon" href="data:,"><script type="module" src="/io.js"></script>',
  ],
  '/io.js': ['text/javascript', outputFiles[0].text],
}

/** 10 MiB and some bytes: two whole pieces of 4 MiB, and a third. */
const file = (first: number): Uint8Array => Uint8Array.from({ length: 10 * MiB + 5 }, (_, i) => first + (i % 251))
const bytes = file(1)
const sha256 = createHash('sha256').update(bytes).digest('hex')

let server: FileServer
beforeEach(async () => {
  server = await fileServer({ '/w': bytes }, {}, ({ url }, response) => {
    const page = pages[url ?? '']
    if (page) response.setHeader('content-type', page[0]).end(page[1])
    return page !== undefined
  })
})
afterEach(() => server.close())

declare const io: typeof import('../../src/io/index.web.ts')
declare const Tweedie: typeof import('../../src/tweedie/index.ts').Tweedie

async function visit(page: Page): Promise<Page> {
  await page.goto(server.origin)
  await page.waitForFunction(() => 'io' in globalThis)
  return page
}

interface Read {
  readonly size: number
  /** First byte, the last of the first piece and the last. */
  readonly at: readonly number[]
  readonly note: string | null
  readonly told: readonly (readonly [number, number | null])[]
}
const expected = { size: bytes.length, at: [bytes[0], bytes[4 * MiB - 1], bytes[bytes.length - 1]], note: null }

/** What a page reads of the file; an error is its code and message. */
const open = (page: Page, hash: string | null = sha256): Promise<Read> =>
  page.evaluate(async (sha256) => {
    const told: [number, number | null][] = []
    const options = { ...(sha256 && { sha256 }), onProgress: (...now: [number, number | null]) => told.push(now) }
    try {
      const source = await io.cachedSource('/w', options)
      const at = await Promise.all([0, 4 * 2 ** 20 - 1, source.size - 1].map((at) => source.read(at, 1)))
      return { size: source.size, at: at.map(([byte]) => byte), note: source.note, told }
    } catch (error) {
      throw new Error(`${(error as { code: string }).code}: ${(error as Error).message}`)
    }
  }, hash)

const files = (page: Page) => page.evaluate(() => io.cachedFiles())

/** Waits at `sent` bytes until the test lets it go on. */
function gate(sent: number): { reached: Promise<void>; open(): void } {
  let reach = () => {}
  let pass = () => {}
  const passed = new Promise<void>((resolve) => (pass = resolve))
  const reached = new Promise<void>((resolve) => (reach = resolve))
  server.behaviour.pause = async (now) => {
    if (now < sent) return
    reach()
    await passed
  }
  return {
    reached,
    open() {
      server.behaviour.pause = undefined
      pass()
    },
  }
}

describe.runIf(chromium)('a file that a browser keeps', () => {
  const inPage = (use: (page: Page, opened: Opened) => Promise<void>): Promise<void> =>
    inChromium({ webgpu: false }, async (opened) => use(await visit(opened.page), opened))

  test('is asked for once, also by another tab, a worker and the next visit, and offline', async () => {
    const profile = mkdtempSync(join(tmpdir(), 'tweedie-profile-'))
    try {
      await inChromium({ webgpu: false, profile }, async ({ page, context }) => {
        await visit(page)
        expect(await page.evaluate(() => io.isCached('/w'))).toBe(false)
        const first = await open(page)
        expect(first).toMatchObject(expected)
        expect(first.told[0]).toEqual([0, bytes.length])
        expect(first.told.at(-1)).toEqual([bytes.length, bytes.length])
        expect(first.told.length).toBeGreaterThan(3)
        expect(server.requests).toEqual(['/w'])
        expect(await open(page)).toMatchObject({ ...expected, told: [[bytes.length, bytes.length]] })
        expect(await open(await visit(await context.newPage()))).toMatchObject(expected)
      })
      await inChromium({ webgpu: false, profile }, async ({ page, errors }) => {
        await visit(page)
        server.files.clear()
        expect(await open(page)).toMatchObject(expected)
        const inWorker = page.evaluate(
          (sha256) =>
            new Promise((resolve) => {
              const worker = new Worker('/io.js', { type: 'module' })
              worker.onmessage = ({ data }) => resolve(data)
              worker.postMessage(['/w', { sha256 }])
            }),
          sha256,
        )
        expect(await inWorker).toEqual([bytes.length, 1, null, true])
        expect(server.requests).toEqual(['/w'])
        const listed = await page.evaluate(async (sha256) => {
          const known = [await io.isCached('/w'), await io.isCached(sha256), await io.isCached('/v')]
          return { files: await io.cachedFiles(), known, size: (await io.cacheSize()).bytes }
        }, sha256)
        expect(listed).toEqual({
          files: [{ url: `${server.origin}/w`, sha256, size: bytes.length, bytes: bytes.length }],
          known: [true, true, false],
          size: bytes.length,
        })
        await page.evaluate(() => io.deleteCached('/w'))
        expect(await files(page)).toEqual([])
        expect(await page.evaluate(() => caches.keys())).toEqual([])
        await expect(open(page)).rejects.toThrow('option: ')
        errors.splice(0) // the answer 404
      })
    } finally {
      rmSync(profile, { recursive: true, force: true, maxRetries: 20 })
    }
  })

  test('that is damaged in the store is fetched again, once', () =>
    inPage(async (page) => {
      await open(page)
      await page.evaluate(async (sha256) => {
        const cache = await caches.open(`tweedie-files-1-${sha256}`)
        const piece = new Uint8Array(await (await cache.match('https://tweedie.invalid/1'))!.arrayBuffer())
        piece[12345] ^= 1
        await cache.put('https://tweedie.invalid/1', new Response(piece))
      }, sha256)
      // Nothing of the second piece is read.
      expect(
        await page.evaluate(
          async (sha256) => [...(await (await io.cachedSource('/w', { sha256 })).read(0, 2))],
          sha256,
        ),
      ).toEqual([1, 2])
      expect(server.requests).toEqual(['/w'])
      const source = await page.evaluate(async (sha256) => {
        const source = await io.cachedSource('/w', { sha256 })
        const [one, other] = await Promise.all([source.read(5 * 2 ** 20, 3), source.read(7 * 2 ** 20, 3)])
        return [[...one], [...other]]
      }, sha256)
      expect(source).toEqual([[...bytes.subarray(5 * MiB, 5 * MiB + 3)], [...bytes.subarray(7 * MiB, 7 * MiB + 3)]])
      expect(server.requests).toEqual(['/w', '/w'])
    }))

  test('with another hash is refused, and nothing of it is kept', () =>
    inPage(async (page) => {
      await expect(open(page, '0'.repeat(64))).rejects.toThrow(
        `format: ${server.origin}/w: expected a file with sha256 0000`,
      )
      expect(await page.evaluate(() => caches.keys())).toEqual([])
      await expect(open(page, 'ABC')).rejects.toThrow('option: cachedSource: sha256: expected 64 hex digits')
    }))

  test('goes on where a closed tab left it', () =>
    inPage(async (page, { context }) => {
      const stopped = gate(9 * MiB)
      void open(page).catch(() => {})
      await stopped.reached
      const other = await visit(await context.newPage())
      await expect.poll(() => files(other)).toMatchObject([{ size: bytes.length, bytes: 8 * MiB }])
      expect(await other.evaluate(() => io.isCached('/w'))).toBe(false)
      await page.close()
      stopped.open()
      expect(await open(other)).toMatchObject(expected)
      expect(server.requests).toEqual(['/w', `/w bytes=${8 * MiB}-`])
    }))

  test('goes on within one call when the connection breaks, and from the start when the file changed meanwhile', () =>
    inPage(async (page, { errors }) => {
      server.behaviour.cuts = [5 * MiB, MiB]
      expect(await open(page)).toMatchObject(expected)
      expect(server.requests).toHaveLength(3)
      expect(server.requests.slice(1).every((request) => /^\/w bytes=[1-9]\d+-$/.test(request))).toBe(true)
      await page.evaluate(() => io.deleteCached())
      server.requests.length = 0
      const stopped = gate(9 * MiB)
      const aborted = page.evaluate(async () => {
        const controller = new AbortController()
        const onProgress = (done: number) => done > 8.5 * 2 ** 20 && controller.abort(new Error('enough'))
        return io.cachedSource('/w', { signal: controller.signal, onProgress }).catch((error: Error) => error.message)
      })
      expect(await aborted).toBe('enough')
      stopped.open()
      expect(await files(page)).toMatchObject([{ sha256: null, bytes: 8 * MiB }])
      server.files.set('/w', file(2))
      server.behaviour.etag = '"2"'
      expect(await open(page, null)).toMatchObject({ at: [2, ...expected.at.slice(1).map((byte) => byte + 1)] })
      expect(server.requests).toEqual(['/w', `/w bytes=${8 * MiB}-`, '/w'])
      errors.splice(0) // Chromium reports the connections that broke.
    }))

  test('without a hash is kept for as long as its server says that it is the same, and while there is no server', () =>
    inPage(async (page, { errors }) => {
      expect(await open(page, null)).toMatchObject(expected)
      expect(await open(page, null)).toMatchObject({ ...expected, told: [[bytes.length, bytes.length]] })
      server.files.set('/w', file(2))
      server.behaviour.etag = '"2"'
      expect((await open(page, null)).at[0]).toBe(2)
      await server.close()
      expect((await open(page, null)).at[0]).toBe(2)
      errors.splice(0)
    }))

  test('is downloaded by one of two tabs; the other waits, and may be told not to', () =>
    inPage(async (page, { context }) => {
      const other = await visit(await context.newPage())
      const stopped = gate(3 * MiB)
      const first = open(page)
      await stopped.reached
      const second = open(other)
      const impatient = other.evaluate(async (sha256) => {
        const signal = AbortSignal.timeout(200)
        return io.cachedSource('/w', { sha256, signal }).catch((error: Error) => error.name)
      }, sha256)
      expect(await impatient).toBe('TimeoutError')
      stopped.open()
      expect(await first).toMatchObject(expected)
      expect(await second).toMatchObject(expected)
      expect(server.requests).toEqual(['/w'])
    }))

  test('for which there is no room is refused with the bytes needed and free, and leaves nothing', () =>
    inPage(async (page, { context }) => {
      const quota = async (quotaSize?: number) => {
        const session = await context.newCDPSession(page)
        await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize })
      }
      await quota(6 * MiB)
      const message = `expected room for ${bytes.length} bytes in the browser's store, found it for 4194304.`
      await expect(open(page)).rejects.toThrow(`storage: ${server.origin}/w: ${message}`)
      expect(await page.evaluate(() => caches.keys())).toEqual([])
      // A server that does not say how long it is: the store itself refuses, in the middle.
      server.behaviour.gzip = true
      await expect(open(page)).rejects.toThrow(
        `storage: ${server.origin}/w: expected room for an unknown number of bytes`,
      )
      expect(await page.evaluate(() => caches.keys())).toEqual([])
      await quota()
      expect(await open(page)).toMatchObject(expected)
    }))

  test('belongs to a model: loaded with cache: true, it draws in the next visit without a server', async () => {
    const profile = mkdtempSync(join(tmpdir(), 'tweedie-profile-'))
    const draw = (page: Page) =>
      page.evaluate(async () => {
        const counted: (readonly [number, number])[] = []
        const onProgress = (...now: [number, number]) => counted.push(now)
        const device = { backend: 'cpu', threads: 1, simd: 'plain' } as const
        const model = await Tweedie.load('bccd32', { ...device, weights: '/weights', cache: true, onProgress })
        let pixels: number[] = []
        for await (const { images } of model.sample({ number: 1, steps: 2, seed: 5, method: 'minority-guided' }))
          pixels = images.flatMap(({ data }) => [...data])
        model.dispose()
        return { pixels, first: counted[0], last: counted.at(-1) }
      })
    const names = Object.values(bccd32).map((name) => `/weights/${name}`)
    for (const name of names) server.files.set(name, readFileSync(new URL(`../..${name}`, import.meta.url)))
    try {
      const before = await inChromium({ webgpu: false, profile }, async ({ page }) => draw(await visit(page)))
      expect(server.requests.sort()).toEqual(names.sort())
      await inChromium({ webgpu: false, profile }, async ({ page, errors }) => {
        await visit(page)
        await server.close()
        const { pixels, first, last } = await draw(page)
        expect(pixels).toHaveLength(3 * 32 * 32)
        expect(pixels).toEqual(before.pixels)
        // All of it is there at once.
        expect([first, last]).toEqual([before.last, before.last])
        expect(errors).toEqual([])
        expect(await page.evaluate(() => io.isCached('/weights/bccd32-adm.safetensors'))).toBe(true)
        // By the hash that is given for a URL, in whatever way it is written, one file is there and another is not.
        const load = (sha256: string) =>
          page.evaluate(
            ([url, sha256]) =>
              Tweedie.load('/weights/bccd32-adm.safetensors', { backend: 'cpu', threads: 0, cache: { [url]: sha256 } })
                .then((model) => model.dispose())
                .catch((error: Error) => error.message),
            [`${server.origin}/weights/bccd32-adm.safetensors`, sha256] as const,
          )
        expect(await load(shippedHashes['bccd32-adm.safetensors'])).toBeUndefined()
        expect(await load('0'.repeat(64))).toMatch('reading failed')
        errors.splice(0) // nobody answers
      })
    } finally {
      rmSync(profile, { recursive: true, force: true, maxRetries: 20 })
    }
  })

  test('lies on another origin, which says little of it', () =>
    inPage(async (page) => {
      // 127.0.0.1 and localhost are two origins. Hidden: ETag, Content-Range and Content-Encoding.
      const there = `${server.origin.replace('127.0.0.1', 'localhost')}/w`
      server.behaviour.headers = { 'access-control-allow-origin': '*' }
      server.behaviour.gzip = true
      const read = (stopAt = Infinity) =>
        page.evaluate(
          async ([url, sha256, stopAt]) => {
            const stop = new AbortController()
            const onProgress = (done: number) => done >= stopAt && stop.abort(new Error('enough'))
            try {
              const source = await io.cachedSource(url, { sha256, signal: stop.signal, onProgress })
              return [source.size, (await source.read(source.size - 1, 1))[0]]
            } catch (error) {
              return (error as Error).message
            }
          },
          [there, sha256, stopAt] as const,
        )
      expect(await read()).toEqual([bytes.length, bytes.at(-1)])
      await page.evaluate(() => io.deleteCached())
      server.behaviour.gzip = false
      server.requests.length = 0
      expect(await read(9 * MiB)).toBe('enough')
      expect(await read()).toEqual([bytes.length, bytes.at(-1)])
      // It cannot be told where the rest begins, so it comes from the start.
      expect(server.requests).toEqual(['/w', `/w bytes=${8 * MiB}-`, '/w'])
    }))

  test('is not a page of HTML', () =>
    inPage(async (page) => {
      server.files.set('/w', Buffer.from('<!doctype html><title>My app</title>'))
      await expect(open(page, null)).rejects.toThrow(`format: ${server.origin}/w: expected weights`)
      expect(await page.evaluate(() => caches.keys())).toEqual([])
    }))

  test('is read through where the page is not secure, and says why', () =>
    inChromium({ webgpu: false }, async ({ page }) => {
      await page.goto(server.origin.replace('127.0.0.1', 'insecure.test'))
      await page.waitForFunction(() => 'io' in globalThis)
      expect(await open(page)).toMatchObject({ ...expected, note: 'this page is not secure (https, or localhost)' })
      expect(await files(page)).toEqual([])
      expect(await page.evaluate(() => io.persistCache())).toBe(false)
    }))
})

describe.each(Object.entries(others))('%s', (name, launch) => {
  test.runIf(launch)('keeps a file, notices its damage, and goes on with an unfinished one', async () => {
    await using browser = await launch!()
    await browser.goto(server.origin)
    await expect.poll(() => browser.evaluate('"io" in globalThis')).toBe(true)
    const read = (path: string, at: number) =>
      browser.evaluate(`io.cachedSource('${path}', { sha256: '${sha256}' })
        .then(async (source) => [source.size, (await source.read(${at}, 1))[0], source.note])`)
    const there = [bytes.length, bytes[5 * MiB], null]
    expect(await read('/w', 5 * MiB)).toEqual(there)
    await browser.reload()
    await expect.poll(() => browser.evaluate('"io" in globalThis')).toBe(true)
    expect(await read('/w', 5 * MiB)).toEqual(there)
    const inWorker = `new Promise((resolve) => {
      const worker = new Worker('/io.js', { type: 'module' })
      worker.onmessage = ({ data }) => resolve(data)
      worker.postMessage(['/w', { sha256: '${sha256}' }])
    })`
    expect(await browser.evaluate(inWorker)).toEqual([bytes.length, 1, null, true])
    // WebKit's driver opens private windows, which keep nothing over a reload (microsoft/playwright#41618).
    expect(server.requests).toEqual(name === 'WebKit' ? ['/w', '/w'] : ['/w'])
    server.requests.length = 0
    await browser.evaluate(`caches.open('tweedie-files-1-${sha256}').then((cache) =>
      cache.put('https://tweedie.invalid/1', new Response('damaged')))`)
    expect(await read('/w', 5 * MiB)).toEqual(there)
    expect(server.requests).toEqual(['/w'])
    const aborted = await browser.evaluate(`(() => {
      const stop = new AbortController()
      const onProgress = (done) => done > ${8.5 * MiB} && stop.abort(new Error('enough'))
      return io.cachedSource('/w?again', { signal: stop.signal, onProgress }).catch((error) => error.message)
    })()`)
    expect(aborted).toBe('enough')
    expect(await browser.evaluate(`io.cachedSource('/w?again').then(({ size }) => size)`)).toBe(bytes.length)
    expect(server.requests.slice(1)).toEqual(['/w', `/w bytes=${8 * MiB}-`])
    expect(await browser.evaluate('io.deleteCached().then(() => caches.keys())')).toEqual([])
  })
})
