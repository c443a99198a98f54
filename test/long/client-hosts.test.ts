/**
 * `tweedie/client` where pages differ: policies that forbid workers or `blob:`, pages that are not isolated, WebGPU.
 * What it does where nothing is in its way is test/client.test.ts's.
 */
import { describe, expect, test } from 'vitest'
import { chromium } from '../browser/chromium.ts'
import { inPage } from '../client-page.ts'

describe.runIf(chromium)('in Chromium', () => {
  test.each([
    ['that forbids workers', "worker-src 'none'", {}, /^worker-unavailable: /],
    [
      'that forbids blob:, with a file for the threads',
      "worker-src 'self'",
      { workerUrl: '/dist/browser/cpu-worker.js' },
      /^2 threads/,
    ],
    ['that forbids blob:, without threads', "worker-src 'self'", { threads: 0 }, /^no threads/],
    ['that forbids blob:, and nothing else is said', "worker-src 'self'", {}, /^cpu-unavailable: .*workerUrl/],
  ])('under a policy %s', async (_, workers, options, expected) => {
    const policy = `default-src 'self'; img-src data:; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; ${workers}`
    const found = await inPage(
      async (page, errors) => {
        const message = await page.evaluate(async (options) => {
          try {
            const client = await TweedieClient.load('bccd32', { ...own, threads: 2, ...options })
            for await (const _ of client.sample({ number: 1, steps: 2 }));
            return client.info.adapter.name.replace('CPU, ', '')
          } catch (error) {
            return said(error)
          }
        }, options)
        errors.splice(0)
        return message
      },
      { 'content-security-policy': policy },
    )
    expect(found).toMatch(expected)
  })

  test('where the page is not isolated the worker computes on one thread', async () => {
    const name = await inPage(
      (page) => page.evaluate(async () => (await TweedieClient.load('bccd32', own)).info.adapter.name),
      { 'cross-origin-opener-policy': 'unsafe-none', 'cross-origin-embedder-policy': 'unsafe-none' },
    )
    expect(name).toBe('CPU, 1 thread, SIMD')
  })

  test('on WebGPU it draws, too, and stops', async () => {
    const found = await inPage((page) =>
      page.evaluate(async () => {
        const client = await TweedieClient.load('bccd32', { weights: '/weights/', backend: 'webgpu', batch: 1 })
        const level = (await client.stats()).liveBytes
        let shown = 0
        for await (const { images } of client.sample({ number: 1, steps: 2, preview: true })) shown += images.length
        for await (const _ of client.sample({ number: 1, steps: 100 })) break
        return { backend: client.info.adapter.backend, shown, left: (await client.stats()).liveBytes - level }
      }),
    )
    expect(found).toEqual({ backend: 'webgpu', shown: 2, left: 0 })
  })
})
