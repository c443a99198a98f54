/** What the browsers of these tests are served: files or anything else at a path, with headers by path. */
import { readFileSync, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, resolve, sep } from 'node:path'

/** What makes a page cross-origin isolated. */
export const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

export type Headers = Readonly<Record<string, string>>

export interface Site {
  /** What lies at a path, `/` among them; null where there is nothing. */
  readonly serve: (path: string) => string | Buffer | null
  /** Of every answer, or by path. */
  readonly headers?: Headers | ((path: string) => Headers)
  /** Answers a request by itself, or says false. */
  readonly answer?: (request: IncomingMessage, response: ServerResponse, path: string) => boolean
}

export interface Served extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, which browsers hold for secure, and whose storage is another than that of other ports. */
  readonly origin: string
  /** The paths that were asked for, in order. */
  readonly requested: string[]
  /** From here on nobody answers. */
  close(): Promise<void>
}

const types: Readonly<Record<string, string>> = {
  '': 'text/html',
  '.css': 'text/css',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
}

/** The files of a folder, as any static server has them: `/` is `index.html`. A site of VitePress has no more rules. */
export const folder =
  (root: string): Site['serve'] =>
  (path) => {
    const file = resolve(join(root, decodeURIComponent(path), path.endsWith('/') ? 'index.html' : ''))
    const inside = file.startsWith(resolve(root) + sep)
    return inside && statSync(file, { throwIfNoEntry: false })?.isFile() ? readFileSync(file) : null
  }

export async function serve({ serve, headers = {}, answer }: Site): Promise<Served> {
  const requested: string[] = []
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    const all = typeof headers === 'function' ? headers(path) : headers
    for (const [name, value] of Object.entries(all)) response.setHeader(name, value)
    if (answer?.(request, response, path)) return
    requested.push(path)
    const body = serve(path)
    if (body === null) response.writeHead(404).end()
    else response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream').end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requested,
    close,
    [Symbol.asyncDispose]: close,
  }
}
