/**
 * The library in a real browser: the installed package, bundled, in Chromium. A page draws two steps of the shipped
 * model, plain and self-guided, and posts the numbers back; they must be those that Node computes. Three pages: WebGPU
 * on whatever adapter there is (SwiftShader where there is no GPU); the CPU backend where the page is cross-origin
 * isolated, so that threads share memory, with relaxed SIMD beside plain; and where it is not, on one thread. One more
 * page has no bundler: it imports the package's own bundle; the last is the README's.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { describe, expect, test } from 'vitest'
import { imageDataOf, type Image } from '../../src/data/index.ts'
import { diffusionOf, GeneratedNoise, sample } from '../../src/diffusion/index.ts'
import { bytesSource, openCheckpoint } from '../../src/io/index.ts'
import { describeModel, loadModel, type UNet } from '../../src/nn/index.ts'
import { deflated } from '../../src/tensor/cpu/generated/module.ts'
import type { Device } from '../../src/tensor/index.ts'
import { Tweedie } from '../../src/tweedie/index.node.ts'
import { blocks } from '../blocks.ts'
import { chromium, html, isolation, posting, visit } from '../chromium.ts'
import { psnr } from '../golden.ts'
import { testDevice } from '../op.ts'
import { packed } from '../packed.ts'

const installed = join(await packed(), 'node_modules/tweedie')
const weights = readFileSync(join(installed, 'weights/bccd32-adm.safetensors'))

/** What the pages share; `tweedie` is the browser entry. */
const common = `
import { add, describeModel, Device, diffusionOf, GeneratedNoise, grad, loadModel, openCheckpoint, sample, square, urlSource } from 'tweedie'

const checkpoint = await openCheckpoint(await urlSource('/weights'))
const description = describeModel(checkpoint)
const diffusion = diffusionOf(description, { respacing: 2 })
const load = (device) => loadModel(device, checkpoint, description)

async function draw(device) {
  const model = await load(device)
  const samples = {}
  for (const [name, options] of Object.entries({ plain: {}, guided: { selfGuidance: { weight: 1, every: 1 } } })) {
    const noise = new GeneratedNoise(device, { seed: 5, samples: [0], shape: [3, 32, 32] })
    const x = await sample(diffusion, model, { noise, ...options })
    samples[name] = [...await x.read()]
    x.dispose()
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

/** The result of a page that runs `program`, bundled with the installed package, and comes with these headers. */
async function inChromium(program: string, headers: Readonly<Record<string, string>> = {}): Promise<Result> {
  const { outputFiles } = await build({
    stdin: { contents: posting(program), resolveDir: await packed(), loader: 'js' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    minify: true,
    logLevel: 'error',
  })
  const files: Readonly<Record<string, string | Buffer>> = {
    '/': html('<script type="module" src="/script.js"></script>'),
    '/script.js': outputFiles[0].text,
    '/weights': weights,
  }
  return (await visit<Result>({ serve: (path) => files[path] ?? null, headers })).result
}

async function inNode(device: Device): Promise<Result['samples']> {
  const checkpoint = await openCheckpoint(bytesSource(weights))
  const description = describeModel(checkpoint)
  using model = (await loadModel(device, checkpoint, description)) as UNet
  const diffusion = diffusionOf(description, { respacing: 2 })
  const draw = async (options: object): Promise<number[]> => {
    using noise = new GeneratedNoise(device, { seed: 5, samples: [0], shape: [3, 32, 32] })
    using x = await sample(diffusion, model, { noise, ...options })
    return [...(await x.read())]
  }
  return { plain: await draw({}), guided: await draw({ selfGuidance: { weight: 1, every: 1 } }) }
}

describe.runIf(chromium)('in Chromium', () => {
  test('WebGPU: the shipped model draws what it draws in Node', async () => {
    const found = await inChromium(webgpuPage)
    expect(found.error).toBeUndefined()
    const expected = await inNode(await testDevice('webgpu'))
    // Another adapter has another exp and sums in another order, and the first step of the cosine schedule multiplies
    // the difference by 1/sqrt(alphaBar) = 2e4 before it clips: the same sample on any adapter is one within 60 dB.
    expect(psnr(found.samples.plain, expected.plain), `plain, dB, on ${found.adapter}`).toBeGreaterThanOrEqual(60)
    expect(psnr(found.samples.guided, expected.guided), `self-guided, dB, on ${found.adapter}`).toBeGreaterThanOrEqual(
      60,
    )
    expect(found.alive).toBe(0)
  })

  for (const isolated of [true, false]) {
    const where = isolated ? 'isolated, 2 threads' : 'not isolated, 1 thread'
    test(`the CPU backend, ${where}: the bits of Node, relaxed SIMD within 1e-4, the page stays free`, async () => {
      const found = await inChromium(cpuPage, isolated ? isolation : {})
      expect(found.error).toBeUndefined()
      expect(found.isolated).toBe(isolated)
      const threads = isolated ? '2 threads' : '1 thread'
      expect(found.names).toEqual([`CPU, ${threads}, SIMD`, `CPU, ${threads}, relaxed SIMD`])
      expect(found.chosen, 'where the only adapter is a software one').toBe('cpu')
      expect(found.samples).toEqual(await inNode(await testDevice('cpu')))
      expect(found.alive).toBe(0)
      // Of single roundings: a fused multiply-add leaves one out. A bias before a norm has a gradient of rounding
      // alone.
      expect(found.differences.length).toBeGreaterThan(100)
      const atLeast = 1e-2 * Math.max(...found.differences.map(([, largest]) => largest))
      const relative = found.differences.map(([difference, largest]) => difference / Math.max(largest, atLeast))
      expect(Math.max(...relative)).toBeLessThanOrEqual(1e-4)
      expect(relative[0], 'relaxed SIMD is another module').toBeGreaterThan(0)
      expect(found.free.beats, JSON.stringify(found.free)).toBeGreaterThan(5)
      expect(found.free.gap, JSON.stringify(found.free)).toBeLessThan(found.free.pass / 2)
    })
  }

  test('a page without a bundler draws what Node draws, and fetches a backend when it asks for one', async () => {
    const program = posting(`${common.replace("'tweedie'", "'/tweedie/tweedie.min.js'")}
async function run() {
  const device = await Device.request({ backend: 'cpu', threads: 2, simd: 'plain' })
  const drawn = await draw(device)
  device.dispose()
  await fetch('/asks-for-a-gpu')
  const gpu = await Device.request({ backend: 'webgpu' })
  const sum = await add(gpu.tensor([1, 2]), 1).read()
  return { ...drawn, chosen: gpu.backend.kind + ' ' + sum.join() }
}`)
    const serve = (path: string): string | Buffer | null => {
      if (path === '/') return html(`<script type="module">${program}</script>`)
      if (path === '/weights') return weights
      return path.startsWith('/tweedie/')
        ? readFileSync(join(installed, 'dist/browser', path.slice('/tweedie/'.length)))
        : null
    }
    const { result, requested } = await visit<Result>({ serve, headers: isolation })
    expect(result.error).toBeUndefined()
    expect(result.samples).toEqual(await inNode(await testDevice('cpu')))
    expect(result.chosen).toBe('webgpu 2,3')
    const asked = requested.indexOf('/asks-for-a-gpu')
    const scripts = (paths: readonly string[], text: string): number =>
      paths.filter((path) => path.startsWith('/tweedie/') && serve(path)?.includes(text)).length
    // The first letters of the deflated module; every kernel's of WGSL.
    const [wasm, wgsl] = [deflated.slice(0, 40), '@compute']
    expect([wasm, wgsl].map((text) => scripts(requested.slice(0, asked), text))).toEqual([1, 0])
    expect([wasm, wgsl].map((text) => scripts(requested.slice(asked), text))).toEqual([0, 1])
  })

  test("the README's page shows what Node draws", async () => {
    const page = blocks.find(({ page, language }) => page === 'README.md' && language === 'html')!.code
    const last =
      "\nconst { data } = document.querySelector('canvas').getContext('2d').getImageData(0, 0, 32, 32)\n" +
      "fetch('/result', { method: 'POST', body: JSON.stringify({ pixels: [...data] }) })\n</script>"
    const shorter = html(page.replace(/steps: \d+/, 'steps: 2').replace('</script>', last))
    const serve = (path: string): string | Buffer | null =>
      path === '/'
        ? shorter
        : path.startsWith('/node_modules/tweedie/')
          ? readFileSync(join(installed, path.slice('/node_modules/tweedie/'.length)))
          : null
    const { result } = await visit<{ readonly pixels?: number[]; readonly error?: string }>({ serve })
    expect(result.error).toBeUndefined()
    using model = await Tweedie.load('bccd32', { backend: 'cpu' })
    let image: Image | undefined
    for await (const { images } of model.sample({ number: 1, steps: 2 })) image = images[0]
    const expected = imageDataOf(image!).data
    expect(result.pixels).toHaveLength(expected.length)
    // Relaxed SIMD rounds otherwise: a value at the edge between two of 256 falls to the other side.
    expect(Math.max(...expected.map((value, i) => Math.abs(value - result.pixels![i])))).toBeLessThanOrEqual(1)
  })

  test.each([
    ['workers', "script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'"],
    ['WebAssembly', "script-src 'self'; worker-src blob:"],
  ])('a page whose policy forbids %s is told so', async (_, policy) => {
    const { error } = await inChromium(refusedPage, { ...isolation, 'content-security-policy': policy })
    expect(error).toMatch(/^cpu-unavailable: .*worker-src blob: .*wasm-unsafe-eval/)
  })
})
