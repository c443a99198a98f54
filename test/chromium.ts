/** Pages in Chromium: served from here, opened in a headless browser of their own, until they post a result. */
import { spawn } from 'node:child_process'
import { mkdtempSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'

/** Its program, undefined where there is none: then the tests are counted as skipped, and CI fails. */
export const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  statSync(path, { throwIfNoEntry: false })?.isFile(),
)
if (!chromium && process.env.CI === 'true') throw new Error('CI tests in Chromium, and it is not installed')

/** What makes a page cross-origin isolated. */
export const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

export interface Page {
  /** What lies at a path, `/` among them; null where there is nothing. */
  readonly serve: (path: string) => string | Buffer | null
  readonly headers?: Readonly<Record<string, string>>
}

/** A page that runs `script`, whose module posts `{ ... }` to `/result`; what does not even load is its result, too. */
export const html = (script: string): string => `<!doctype html><title>tweedie</title><script>
const failed = (error) => fetch('/result', { method: 'POST', body: JSON.stringify({ error: String(error) }) })
addEventListener('error', (event) => failed(event.message ?? event.target.src + ' does not load'), true)
addEventListener('unhandledrejection', (event) => failed(event.reason?.stack ?? event.reason))
</script>${script}`

/** Makes a program with a function `run` one that posts what `run` resolves to. */
export const posting = (program: string): string => `${program}
run().catch((error) => ({ error: String(error.stack ?? error) })).then((result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) }))`

const types: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '': 'text/html',
  '.html': 'text/html',
}

/** What the page posts, and the paths that were asked for. */
export async function visit<Result>({ serve, headers = {} }: Page): Promise<{ result: Result; requested: string[] }> {
  const profile = mkdtempSync(join(tmpdir(), 'tweedie-chromium-'))
  const requested: string[] = []
  let report = (_: Result): void => {}
  const result = new Promise<Result>((resolve) => (report = resolve))
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    if (path === '/result') {
      const chunks: Buffer[] = []
      request
        .on('data', (chunk: Buffer) => chunks.push(chunk))
        .on('end', () => {
          response.end()
          report(JSON.parse(Buffer.concat(chunks).toString()) as Result)
        })
      return
    }
    requested.push(path)
    const body = serve(path)
    if (body === null) response.writeHead(404).end()
    else response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream').end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const browser = spawn(
    chromium as string,
    [
      '--headless=new',
      '--no-sandbox',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      '--enable-features=Vulkan',
      `--user-data-dir=${profile}`,
      `http://127.0.0.1:${port}/`,
    ],
    { stdio: 'ignore', env: { ...process.env, VK_DRIVER_FILES: undefined } },
  )
  const ended = new Promise<never>((_, reject) => {
    browser.on('exit', (code) => reject(new Error(`Chromium ended by itself with ${code}`)))
    browser.on('error', reject)
  })
  try {
    return { result: await Promise.race([result, ended]), requested }
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
