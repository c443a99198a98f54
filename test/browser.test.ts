/**
 * The library in a real browser: the browser entry, bundled, in Chromium. A page draws two steps of the shipped model, plain
 * and self-guided, and posts the numbers back; they must be those that Node computes. Three pages: WebGPU on whatever
 * adapter there is (SwiftShader where there is no GPU); the CPU backend where the page is cross-origin isolated, so that
 * threads share memory, with relaxed SIMD beside plain; and where it is not, on one thread. Without Chromium the tests are
 * counted as skipped, and CI fails.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { describe, expect, test } from 'vitest'
import { diffusionOf, GeneratedNoise, sampleLoop, selfGuidance } from '../src/diffusion/index.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import { describeModel, loadModel, type UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { psnr } from './golden.ts'
import { testDevice } from './op.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const weights = readFileSync(join(root, 'weights/bccd32-adm.safetensors'))
const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
if (!chromium && process.env.CI === 'true') throw new Error('CI tests in Chromium, and it is not installed')

/** What the pages share; `tweedie` is the browser entry. */
const common = `
import { add, describeModel, Device, diffusionOf, GeneratedNoise, grad, loadModel, openCheckpoint, sampleLoop, selfGuidance, square, urlSource } from 'tweedie'

const checkpoint = await openCheckpoint(await urlSource('/weights'))
const description = describeModel(checkpoint)
const diffusion = diffusionOf(description, { respacing: 2 })
const load = (device) => loadModel(device, checkpoint, description)

async function draw(device) {
  const model = await load(device)
  const samples = {}
  for (const [name, options] of Object.entries({ plain: {}, guided: { selfGuidance: selfGuidance({ weight: 1, every: 1 }) } })) {
    const noise = new GeneratedNoise(device, { seed: 5, samples: [0], shape: [3, 32, 32] })
    for await (const step of sampleLoop(diffusion, (x, t) => model.forward(x, t), { noise, ...options })) {
      if (step.done === step.total) samples[name] = [...await step.x.read()]
    }
    noise.dispose()
  }
  model.dispose()
  return { samples, alive: device.stats.liveBuffers, adapter: device.adapter.name }
}

/** Value and gradients of the U-Net: every kernel that a training step runs. */
async function everything(device) {
  const model = await load(device)
  const x = device.tensor(Float32Array.from({ length: 2 * 3072 }, (_, i) => Math.sin(0.37 * i)), [2, 3, 32, 32])
  const { value, gradients } = grad(() => square(model.forward(x, [17, 500])), [x, ...model.parameters.values()])
  const arrays = []
  for (const one of [value, ...gradients]) arrays.push(await one.read())
  return arrays
}

/** How long a large forward pass takes, and the longest time in it that the page could not do anything else. */
async function heartbeat(device) {
  const model = await load(device)
  const x = device.tensor(new Float32Array(64 * 3072).fill(0.1), [64, 3, 32, 32])
  const pass = async () => { const y = model.forward(x, new Array(64).fill(7)); await y.read(); y.dispose() }
  await pass()
  const beats = [performance.now()]
  const timer = setInterval(() => beats.push(performance.now()), 5)
  await pass()
  clearInterval(timer)
  beats.push(performance.now())
  model.dispose()
  x.dispose()
  return { pass: beats.at(-1) - beats[0], gap: Math.max(...beats.slice(1).map((t, i) => t - beats[i])), beats: beats.length }
}
`

const webgpuPage = `${common}
async function run() {
  const device = await Device.request({ backend: 'webgpu' })
  const drawn = await draw(device)
  device.dispose()
  return drawn
}`

const cpuPage = `${common}
async function run() {
  const auto = await Device.request()
  const chosen = auto.backend.kind
  auto.dispose()
  const device = await Device.request({ backend: 'cpu', threads: 2, simd: 'plain' })
  const drawn = await draw(device)
  const free = await heartbeat(device)
  const relaxed = await Device.request({ backend: 'cpu', threads: 2, simd: 'relaxed' })
  const [expected, found] = [await everything(device), await everything(relaxed)]
  const largest = (values) => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  const differences = found.map((values, k) => [largest(values.map((v, i) => v - expected[k][i])), largest(expected[k])])
  const names = [device, relaxed].map((one) => one.adapter.name)
  device.dispose()
  relaxed.dispose()
  return { ...drawn, chosen, free, differences, names, isolated: crossOriginIsolated }
}`

const refusedPage = `
import { Device } from 'tweedie'
const run = () => Device.request({ backend: 'cpu' }).then(() => ({}), ({ code, message }) => ({ error: code + ': ' + message }))`

interface Result {
  readonly error?: string
  readonly samples: { readonly plain: number[]; readonly guided: number[] }
  readonly alive: number
  readonly adapter: string
  /** Of the pages on the CPU. */
  readonly chosen: string
  readonly free: { readonly pass: number; readonly gap: number; readonly beats: number }
  /** Between relaxed and plain SIMD, and the largest element: the value, the gradients by x and by all parameters. */
  readonly differences: [difference: number, largest: number][]
  readonly names: string[]
  readonly isolated: boolean
}

/** What makes a page cross-origin isolated. */
const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

/** The result of a page that runs `program` and comes with these headers. */
async function inChromium(program: string, headers: Readonly<Record<string, string>> = {}): Promise<Result> {
  const { outputFiles } = await build({
    stdin: { contents: `${program}
run().catch((error) => ({ error: String(error.stack ?? error) })).then((result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) }))`, resolveDir: root, loader: 'js' },
    bundle: true, write: false, format: 'esm', platform: 'browser', target: 'es2022', minify: true, logLevel: 'error',
    alias: { tweedie: join(root, 'src/index.ts'), '#platform': join(root, 'src/tensor/webgpu/platform.ts') },
  })
  const profile = mkdtempSync(join(tmpdir(), 'tweedie-chromium-'))
  let report = (_: Result): void => {}
  const result = new Promise<Result>((resolve) => (report = resolve))
  const server = createServer((request, response) => {
    const send = (type: string, body: string | Buffer): void => void response.setHeader('content-type', type).end(body)
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    if (request.url === '/result') {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
        response.end()
        report(JSON.parse(Buffer.concat(chunks).toString()) as Result)
      })
    } else if (request.url === '/script.js') send('text/javascript', outputFiles[0].text)
    else if (request.url === '/weights') send('application/octet-stream', weights)
    else send('text/html', '<!doctype html><title>tweedie</title><script type="module" src="/script.js"></script>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const browser = spawn(chromium as string, [
    '--headless=new', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan', `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`,
  ], { stdio: 'ignore', env: { ...process.env, VK_DRIVER_FILES: undefined } })
  const ended = new Promise<never>((_, reject) => {
    browser.on('exit', (code) => reject(new Error(`Chromium ended by itself with ${code}`)))
    browser.on('error', reject)
  })
  try {
    return await Promise.race([result, ended])
  } finally {
    ended.catch(() => {})
    const gone = new Promise((resolve) => browser.once('exit', resolve))
    // Without a number it never began.
    if (browser.pid !== undefined && browser.exitCode === null) {
      browser.kill()
      await gone
    }
    server.close()
    server.closeAllConnections()
    // Chromium's helpers outlive it for a moment, and write there.
    await rm(profile, { recursive: true, force: true, maxRetries: 20 })
  }
}

async function inNode(device: Device): Promise<Result['samples']> {
  const checkpoint = await openCheckpoint(bytesSource(weights))
  const description = describeModel(checkpoint)
  using model = await loadModel(device, checkpoint, description) as UNet
  const diffusion = diffusionOf(description, { respacing: 2 })
  const draw = async (options: object): Promise<number[]> => {
    using noise = new GeneratedNoise(device, { seed: 5, samples: [0], shape: [3, 32, 32] })
    let sample: number[] = []
    for await (const step of sampleLoop(diffusion, (x, t) => model.forward(x, t), { noise, ...options })) sample = [...await step.x.read()]
    return sample
  }
  return { plain: await draw({}), guided: await draw({ selfGuidance: selfGuidance({ weight: 1, every: 1 }) }) }
}

describe.runIf(chromium)('in Chromium', () => {
  test('WebGPU: the shipped model draws what it draws in Node', async () => {
    const found = await inChromium(webgpuPage)
    expect(found.error).toBeUndefined()
    const expected = await inNode(await testDevice('webgpu'))
    // Another adapter has another exp and sums in another order, and the first step of the cosine schedule multiplies the
    // difference by 1/sqrt(alphaBar) = 2e4 before it clips: the same sample on any adapter is one within 60 dB.
    expect(psnr(found.samples.plain, expected.plain), `plain, dB, on ${found.adapter}`).toBeGreaterThanOrEqual(60)
    expect(psnr(found.samples.guided, expected.guided), `self-guided, dB, on ${found.adapter}`).toBeGreaterThanOrEqual(60)
    expect(found.alive).toBe(0)
  })

  for (const isolated of [true, false]) {
    test(`the CPU backend, ${isolated ? 'cross-origin isolated, on 2 threads' : 'not isolated, on 1 thread'}: the same bits as in Node, relaxed SIMD within 1e-4, the page stays free`, async () => {
      const found = await inChromium(cpuPage, isolated ? isolation : {})
      expect(found.error).toBeUndefined()
      expect(found.isolated).toBe(isolated)
      const threads = isolated ? '2 threads' : '1 thread'
      expect(found.names).toEqual([`CPU, ${threads}, SIMD`, `CPU, ${threads}, relaxed SIMD`])
      expect(found.chosen, 'where the only adapter is a software one').toBe('cpu')
      expect(found.samples).toEqual(await inNode(await testDevice('cpu')))
      expect(found.alive).toBe(0)
      // Of single roundings: a fused multiply-add leaves one out. A bias before a norm has a gradient of rounding alone.
      expect(found.differences.length).toBeGreaterThan(100)
      const atLeast = 1e-2 * Math.max(...found.differences.map(([, largest]) => largest))
      const relative = found.differences.map(([difference, largest]) => difference / Math.max(largest, atLeast))
      expect(Math.max(...relative)).toBeLessThanOrEqual(1e-4)
      expect(relative[0], 'relaxed SIMD is another module').toBeGreaterThan(0)
      expect(found.free.beats, JSON.stringify(found.free)).toBeGreaterThan(5)
      expect(found.free.gap, JSON.stringify(found.free)).toBeLessThan(found.free.pass / 2)
    })
  }

  test.each([
    ['workers', "script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'"],
    ['WebAssembly', "script-src 'self'; worker-src blob:"],
  ])('a page whose policy forbids %s is told so', async (_, policy) => {
    const { error } = await inChromium(refusedPage, { ...isolation, 'content-security-policy': policy })
    expect(error).toMatch(/^cpu-unavailable: .*worker-src blob: .*wasm-unsafe-eval/)
  })
})
