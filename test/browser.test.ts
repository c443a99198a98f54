/**
 * The library in a real browser: the browser entry, bundled, in Chromium, on whatever WebGPU adapter it has (SwiftShader
 * where there is no GPU). The page draws two steps of the shipped model, plain and self-guided, and posts the numbers
 * back; they must be those that Node computes. Without Chromium it is counted as skipped, and CI fails.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { describe, expect, test } from 'vitest'
import { GaussianDiffusion, GeneratedNoise, sampleLoop, selfGuidance } from '../src/diffusion/index.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import { describeModel, loadModel, type UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { psnr } from './golden.ts'
import { testDevice } from './op.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const weights = readFileSync(join(root, 'weights/bccd32-adm.safetensors'))
const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
if (!chromium && process.env.CI === 'true') throw new Error('CI tests in Chromium, and it is not installed')

/** The page's program; `tweedie` is the browser entry. */
const program = `
import { describeModel, Device, GaussianDiffusion, GeneratedNoise, loadModel, openCheckpoint, sampleLoop, selfGuidance, urlSource } from 'tweedie'

async function run() {
  const device = await Device.request()
  const checkpoint = await openCheckpoint(await urlSource('/weights'))
  const model = await loadModel(device, checkpoint, describeModel(checkpoint))
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '2' })
  const samples = {}
  for (const [name, options] of Object.entries({ plain: {}, guided: { selfGuidance: selfGuidance({ weight: 1, every: 1 }) } })) {
    const noise = new GeneratedNoise(device, { seed: 5, samples: [0], shape: [3, 32, 32] })
    for await (const step of sampleLoop(diffusion, (x, t) => model.forward(x, t), { noise, ...options })) {
      if (step.done === step.total) samples[name] = [...await step.x.read()]
    }
    noise.dispose()
  }
  model.dispose()
  const alive = device.stats.liveBuffers
  device.dispose()
  return { samples, alive, adapter: device.adapter }
}
run().catch((error) => ({ error: String(error.stack ?? error) })).then((result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) }))
`

interface Result {
  readonly error?: string
  readonly samples: { readonly plain: number[]; readonly guided: number[] }
  readonly alive: number
  readonly adapter: { readonly name: string }
}

async function inChromium(script: string): Promise<Result> {
  const profile = mkdtempSync(join(tmpdir(), 'tweedie-chromium-'))
  let report = (_: Result): void => {}
  const result = new Promise<Result>((resolve) => (report = resolve))
  const server = createServer((request, response) => {
    const send = (type: string, body: string | Buffer): void => void response.setHeader('content-type', type).end(body)
    if (request.url === '/result') {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
        response.end()
        report(JSON.parse(Buffer.concat(chunks).toString()) as Result)
      })
    } else if (request.url === '/script.js') send('text/javascript', script)
    else if (request.url === '/weights') send('application/octet-stream', weights)
    else send('text/html', '<!doctype html><title>tweedie</title><script type="module" src="/script.js"></script>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const browser = spawn(chromium as string, [
    '--headless=new', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan', `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`,
  ], { stdio: 'ignore', env: { ...process.env, VK_DRIVER_FILES: undefined } })
  const ended = new Promise<never>((_, reject) => browser.on('exit', (code) => reject(new Error(`Chromium ended by itself with ${code}`))))
  try {
    return await Promise.race([result, ended])
  } finally {
    ended.catch(() => {})
    const gone = new Promise((resolve) => browser.once('exit', resolve))
    if (browser.exitCode === null) {
      browser.kill()
      await gone
    }
    server.close()
    server.closeAllConnections()
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function inNode(device: Device): Promise<Result['samples']> {
  const checkpoint = await openCheckpoint(bytesSource(weights))
  using model = await loadModel(device, checkpoint, describeModel(checkpoint)) as UNet
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '2' })
  const draw = async (options: object): Promise<number[]> => {
    using noise = new GeneratedNoise(device, { seed: 5, samples: [0], shape: [3, 32, 32] })
    let sample: number[] = []
    for await (const step of sampleLoop(diffusion, (x, t) => model.forward(x, t), { noise, ...options })) sample = [...await step.x.read()]
    return sample
  }
  return { plain: await draw({}), guided: await draw({ selfGuidance: selfGuidance({ weight: 1, every: 1 }) }) }
}

describe.runIf(chromium)('in Chromium', () => {
  test('the shipped model draws what it draws in Node', async () => {
    const { outputFiles } = await build({
      stdin: { contents: program, resolveDir: root, loader: 'js' }, bundle: true, write: false, format: 'esm', platform: 'browser', minify: true, logLevel: 'error',
      alias: { tweedie: join(root, 'src/index.ts'), '#platform': join(root, 'src/tensor/webgpu/platform.ts') },
    })
    const found = await inChromium(outputFiles[0].text)
    expect(found.error).toBeUndefined()
    const expected = await inNode(await testDevice())
    // Another adapter has another exp and sums in another order, and the first step of the cosine schedule multiplies the
    // difference by 1/sqrt(alphaBar) = 2e4 before it clips: the same sample on any adapter is one within 60 dB.
    expect(psnr(found.samples.plain, expected.plain), `plain, dB, on ${found.adapter.name}`).toBeGreaterThanOrEqual(60)
    expect(psnr(found.samples.guided, expected.guided), `self-guided, dB, on ${found.adapter.name}`).toBeGreaterThanOrEqual(60)
    expect(found.alive).toBe(0)
  })
})
