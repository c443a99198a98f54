/**
 * `tweedie/client` as a page meets it: the packed package, served and not bundled, in Chromium. What it draws and
 * scores is what `Tweedie` draws in Node; what is stopped, left or disposed of leaves nothing; what goes wrong in the
 * worker, or with it, arrives as a TweedieError.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import type { TweedieClient as Client } from '../../src/client/index.ts'
import { placed } from '../../src/client/places.ts'
import { decodeImage, imageDataOf } from '../../src/data/index.ts'
import { Tweedie } from '../../src/tweedie/index.node.ts'
import { chromium } from '../browser/chromium.ts'
import { inPage, installed } from '../client-page.ts'

test('in Node there are no web workers, and the client says so', async () => {
  const { TweedieClient } = await import('../../src/client/index.ts')
  await expect(TweedieClient.load('bccd32')).rejects.toMatchObject({
    code: 'worker-unavailable',
    message: expect.stringContaining('use Tweedie itself'),
  })
})

test('URLs are sent as the page means them, those of hashes too', () => {
  vi.stubGlobal('location', { href: 'https://page.test/cells/' })
  try {
    const options = { weights: '/weights', cache: { 'faces.safetensors': 'abc' }, classifier: { file: 'c.pt' } }
    expect(placed(options)).toEqual({
      memoryBudget: Infinity,
      weights: 'https://page.test/weights',
      cache: { 'https://page.test/cells/faces.safetensors': 'abc' },
      classifier: { file: 'https://page.test/cells/c.pt' },
    })
  } finally {
    vi.unstubAllGlobals()
  }
})

describe.runIf(chromium)('in Chromium', () => {
  test('draws where the browser stores nothing and has no locks', async () => {
    const profile = mkdtempSync(join(tmpdir(), 'tweedie-profile-'))
    mkdirSync(join(profile, 'Default'))
    const blocked = { profile: { default_content_setting_values: { cookies: 2 } } }
    writeFileSync(join(profile, 'Default/Preferences'), JSON.stringify(blocked))
    try {
      const found = await inPage(
        (page) =>
          page.evaluate(async () => {
            const locks = await navigator.locks.request('any', () => 'has locks').catch(() => 'no locks')
            const client = await TweedieClient.load('bccd32', { ...own, cache: true })
            const last = []
            for await (const { done, total } of client.sample({ number: 1, steps: 2 })) last.push(done, total)
            client.dispose()
            return { locks, last }
          }),
        {},
        { profile },
      )
      expect(found).toEqual({ locks: 'no locks', last: [1, 2, 2, 2] })
    } finally {
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    }
  })

  test("a page's memory is what its worker may take, which may not know what it runs on", async () => {
    const found = await inPage((page) =>
      page.evaluate(async () => {
        Object.defineProperty(navigator, 'userAgent', { value: 'Mozilla/5.0 (Linux; Android 16)' })
        Object.defineProperty(navigator, 'deviceMemory', { value: 0.05 })
        return TweedieClient.load('bccd32', own).then(() => 'loaded', said)
      }),
    )
    expect(found).toMatch(/^out-of-memory: .* 13 MiB are what it may take/)
  })

  test('draws and scores what Tweedie draws and scores in Node, and shows it step by step', async () => {
    const found = await inPage((page) =>
      page.evaluate(async () => {
        const loaded: number[][] = []
        const scored: number[][] = []
        const client = await TweedieClient.load('bccd32', {
          ...own,
          onProgress: (...progress) => loaded.push(progress),
        })
        const atLoad = loaded.at(-1)
        const steps: unknown[] = []
        const options = {
          number: 3,
          batch: 2,
          steps: 2,
          method: 'minority-guided',
          preview: true,
          pushes: true,
          record: true,
        } as const
        const pictures: number[][] = []
        let values: number[] = []
        let record: object | undefined
        for await (const { images, pushes, values: last, ...step } of client.sample(options)) {
          record = step.record
          steps.push([step.done, step.total, step.finished, images.map((image) => image !== null), pushes?.length])
          images.forEach((image, k) => image && (pictures[k] = pixels(image)))
          if (last) values = [...last]
        }
        const files = [
          await (await fetch('docs/quickstart.png')).blob(),
          new ImageData(Uint8ClampedArray.from(pictures[0]), 32, 32),
          await createImageBitmap(new ImageData(Uint8ClampedArray.from(pictures[1]), 32, 32)),
        ]
        const onProgress = (...progress: number[]): unknown => scored.push(progress)
        const { scores, reconstructions } = await client.score(files, { batch: 1, reconstructions: true, onProgress })
        const canvas = new OffscreenCanvas(40, 40)
        canvas.getContext('2d')!.fillRect(0, 0, 20, 20)
        const webp = await canvas.convertToBlob({ type: 'image/webp' })
        const { scores: ofOther } = await client.score([webp])
        return {
          info: client.info,
          atLoad,
          steps,
          pictures,
          values,
          scores: [...scores],
          record,
          reconstructed: reconstructions!.map(pixels),
          scored,
          ofOther: ofOther[0],
        }
      }),
    )
    using model = await Tweedie.load('bccd32', { backend: 'cpu', simd: 'plain' })
    expect(found.info).toMatchObject({
      adapter: { backend: 'cpu', software: true },
      minorityLevels: 10,
      batch: model.batch,
      imageSize: 32,
      channels: 3,
      classes: null,
    })
    // All of the progress is told before the answer.
    expect(found.atLoad).toEqual([expect.any(Number), found.atLoad![0]])
    expect(found.scored).toEqual([1, 2, 3].map((done) => [done, 3]))
    // A bitmap is sent of what is new: in the second batch no longer of what the first one finished.
    expect(found.steps).toEqual([
      [1, 4, 0, [true, true], 2],
      [2, 4, 2, [true, true], 2],
      [3, 4, 2, [false, false, true], 1],
      [4, 4, 3, [false, false, true], 1],
    ])
    const options = { number: 3, batch: 2, steps: 2, method: 'minority-guided' } as const
    for await (const step of model.sample(options)) {
      const { images, values } = step
      if (!values) continue
      // Files are called by their URLs in a page, by their paths here; when and how long is of the run.
      const { samples, sha256, version } = await model.record(step)
      expect(found.record).toMatchObject({ samples, sha256, version, status: 'done' })
      expect(found.values).toEqual([...values])
      expect(found.pictures).toEqual(images.map((image) => [...imageDataOf(image).data]))
      const expected = await model.reconstruct(
        [decodeImage(installed('/docs/quickstart.png') as Buffer), images[0], images[1]],
        { batch: 1 },
      )
      expect(found.scores).toEqual([...expected.scores])
      expect(found.reconstructed).toEqual(expected.reconstructions.map((image) => [...imageDataOf(image).data]))
    }
    expect(found.ofOther).toBeGreaterThan(0)
  })

  test('what is aborted or left ends within a step and leaves nothing; the next run draws the same', async () => {
    const found = await inPage((page) =>
      page.evaluate(async () => {
        const client = await TweedieClient.load('bccd32', own)
        const long = { number: 8, steps: 200, method: 'minority-guided' } as const
        const run = async (): Promise<number[]> => {
          let last: Float32Array | undefined
          for await (const { values } of client.sample({ number: 1, steps: 2 })) last = values
          return [...last!]
        }
        const before = await run()
        const level = (await client.stats()).liveBytes
        const controller = new AbortController()
        const reason = { mine: true }
        let steps = 0
        const aborted = await (async () => {
          try {
            // In the middle of the third step.
            for await (const _ of client.sample({ ...long, signal: controller.signal }))
              if (++steps === 2) setTimeout(() => controller.abort(reason), 30)
          } catch (error) {
            return error === reason
          }
          return false
        })()
        const levels = [(await client.stats()).liveBytes - level]
        for await (const { done } of client.sample(long)) if (done === 2) break
        levels.push((await client.stats()).liveBytes - level)
        const early = await client
          .sample({ ...long, signal: AbortSignal.abort(reason) })
          .next()
          .catch((error) => error === reason)
        const scoring = new AbortController()
        const score = client.score(new Float32Array(64 * 3072), {
          batch: 1,
          signal: scoring.signal,
          onProgress: () => scoring.abort(reason),
        })
        const scored = await score.catch((error) => error === reason)
        levels.push((await client.stats()).liveBytes - level)
        const thrown = await client
          .score(new Float32Array(64 * 3072), {
            batch: 1,
            onProgress: () => {
              throw reason
            },
          })
          .catch((error) => error === reason)
        const loading = new AbortController()
        const loaded = await TweedieClient.load('bccd32', {
          ...own,
          signal: loading.signal,
          onProgress: () => loading.abort(reason),
        }).catch((error) => error === reason)
        return { before, after: await run(), aborted, early, scored, thrown, loaded, steps, levels }
      }),
    )
    expect(found).toMatchObject({ aborted: true, early: true, scored: true, thrown: true, loaded: true })
    expect(found.steps).toBeLessThan(5)
    expect(found.levels).toEqual([0, 0, 0])
    expect(found.after).toEqual(found.before)
  })

  test('the worker is at most one step ahead of the page', async () => {
    const ahead = await inPage((page) =>
      page.evaluate(async () => {
        const client = await TweedieClient.load('bccd32', own)
        const still = async (): Promise<number> => {
          for (let last = -1; ; ) {
            const { dispatches } = await client.stats()
            if (dispatches === last) return dispatches
            last = dispatches
            await new Promise((resolve) => setTimeout(resolve, 500))
          }
        }
        const seen: number[] = []
        for await (const { done } of client.sample({ number: 1, steps: 20 })) {
          seen.push(await still())
          if (done === 3) break
        }
        return seen
      }),
    )
    // Each time the loop goes on it draws one step more.
    const [first, second, third] = ahead
    expect(second - first).toBeGreaterThan(0)
    expect(third - second).toBe(second - first)
  })

  test('two loops at once, and two clients at once, draw what each draws alone', async () => {
    const found = await inPage((page) =>
      page.evaluate(async () => {
        const [one, other] = await Promise.all([1, 2].map(() => TweedieClient.load('bccd32', own)))
        const run = async (client: Client, seed: number): Promise<string> => {
          let last: Float32Array | undefined
          for await (const { values } of client.sample({ number: 1, steps: 3, seed })) last = values
          return last!.join()
        }
        const alone = [await run(one, 1), await run(one, 2)]
        const together = await Promise.all([run(one, 1), run(one, 2), run(other, 1)])
        other.dispose()
        // The same client with another model in the place of the first.
        await one.load('/weights/bccd32-adm.safetensors', { backend: 'cpu', simd: 'plain' })
        return { alone, together, again: await run(one, 1), levels: one.info.minorityLevels }
      }),
    )
    expect(found.together).toEqual([...found.alone, found.alone[0]])
    expect(found.again).toBe(found.alone[0])
    expect(found.levels).toBeNull()
  })

  test('errors of the worker are the errors of the library', async () => {
    const found = await inPage(async (page, errors) => {
      const messages = await page.evaluate(async () => {
        const client = await TweedieClient.load('bccd32', own)
        const drawn = async (options: object): Promise<void> => {
          for await (const _ of client.sample(options));
        }
        const broken = await (await fetch('/weights/bccd32-adm.safetensors')).arrayBuffer()
        new DataView(broken).setFloat32(broken.byteLength - 4, NaN, true)
        const all = await Promise.all(
          [
            drawn({ nmber: 1 }),
            drawn({ guidances: () => [] }),
            TweedieClient.load(broken, own),
            client.score([new Blob(['no picture'])]),
            TweedieClient.load('bccd32', { ...own, weights: '/nothing/' }),
          ].map((promise) => promise.then(() => 'nothing', said)),
        )
        // The model before is given up for the one that does not load.
        all.push(await client.load('bccd32', { ...own, weights: '/nowhere/' }).then(() => 'nothing', said))
        return [...all, await drawn({}).then(() => 'nothing', said)]
      })
      errors.splice(0)
      return messages
    })
    const expected = [
      /^option: sample: unknown option "nmber" \(did you mean "number"\?\)/,
      /^option: .*cannot be sent to a worker.*Functions/,
      /^non-finite: /,
      /^format: the image: neither a PNG nor a JPEG/,
      /^option: .*\/nothing\/bccd32-adm.safetensors: .*404/,
      /^option: .*\/nowhere\/bccd32-adm.safetensors: .*404/,
      /^disposed: sample: there is no model/,
    ]
    expect(found).toEqual(expected.map((message) => expect.stringMatching(message)))
  })

  test('who disposes of a client in mid-run, or whose worker is ended, hears of it', async () => {
    const found = await inPage((page) =>
      page.evaluate(async () => {
        const long = { number: 8, steps: 200 }
        const run = async (client: Client, then: () => void): Promise<string> => {
          try {
            for await (const { done } of client.sample(long)) if (done === 1) setTimeout(then, 20)
          } catch (error) {
            return said(error)
          }
          return 'nothing'
        }
        const disposed = await TweedieClient.load('bccd32', own)
        const messages = [await run(disposed, () => disposed.dispose())]
        messages.push(await disposed.score(new Float32Array(3072)).then(() => 'nothing', said))
        let worker: Worker | undefined
        const createWorker = (): Worker => (worker = new Worker('/dist/browser/worker.min.js', { type: 'module' }))
        const dying = await TweedieClient.load('bccd32', { ...own, createWorker })
        messages.push(await run(dying, () => worker!.terminate()))
        messages.push(await dying.score(new Float32Array(3072)).then(() => 'nothing', said))
        return messages
      }),
    )
    const [disposed, lost] = [/^disposed: .*was disposed/, /^device-lost: .*the browser ended it/]
    expect(found).toEqual([disposed, disposed, lost, lost].map((message) => expect.stringMatching(message)))
  })

  test('threads are workers of the page, and end with the device or the client they compute for', async () => {
    await inPage(async (page) => {
      const workers = (): number => page.workers().length
      // Chromium gives a thread that waits in shared memory two seconds to end.
      const patient = { timeout: 20_000 }
      await page.evaluate(async () => {
        Object.assign(globalThis, { client: await TweedieClient.load('bccd32', { ...own, threads: 2 }) })
      })
      expect(workers(), 'the client and two threads').toBe(3)
      await page.evaluate(async () =>
        (globalThis as unknown as { client: Client }).client.load('bccd32', { ...own, threads: 3 }),
      )
      await expect.poll(workers, patient).toBe(4)
      await page.evaluate(() => (globalThis as unknown as { client: Client }).client.dispose())
      await expect.poll(workers, patient).toBe(0)
    })
  })

  test('a worker that does not start says what to look at', async () => {
    const found = await inPage(async (page, errors) => {
      const messages = await page.evaluate(async () => {
        const starts = ['/nothing.js', '/throws.js', '/old.js', '/other.js', 'https://elsewhere.example/worker.js']
        const created = starts.map((url) => () => new Worker(url, { type: 'module' }))
        return Promise.all(
          [...created, () => undefined as unknown as Worker].map((createWorker) =>
            TweedieClient.load('bccd32', { ...own, createWorker }).then(() => 'nothing', said),
          ),
        )
      })
      errors.splice(0)
      return messages
    })
    for (const [i, why] of [
      /does not say why/,
      /from the script/,
      /it is of version 0\.0\.1/,
      /it is of version undefined/,
      /origin|elsewhere/i,
      /createWorker gave undefined/,
    ].entries()) {
      expect(found[i]).toMatch(/^worker-unavailable: The worker of TweedieClient does not start/)
      expect(found[i]).toMatch(why)
    }
  })
})
