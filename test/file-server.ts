/** A web server of files for tests of downloads: with ranges and without, compressing, breaking off, changing one. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

/** A file: in memory, or of any size by what it has from one byte to another. */
export type ServedFile = Uint8Array | { readonly size: number; bytes(from: number, to: number): Uint8Array }

/** How it is served. What is not said is done as a good server does. */
export interface Behaviour {
  /** Of the file; null: the server says none. Default `"1"`. */
  etag?: string | null
  /** `ignores`: answers a range with the whole; `hides`: with the part, without saying which; `short`: with less. */
  ranges?: 'ignores' | 'hides' | 'short'
  /** Compresses the whole file, and says no length then. */
  gzip?: boolean
  /** Ends the connection after so many bytes of a body, each number once. */
  cuts?: number[]
  /** Is asked before a body's next bytes are sent, so that a test can wait there. */
  pause?: (sent: number, path: string) => Promise<unknown>
  /** More headers. */
  headers?: Readonly<Record<string, string>>
}

export interface FileServer {
  readonly origin: string
  /** Path and range of every request for a file: `/w bytes=0-9`. */
  readonly requests: string[]
  /** By path. Change them and their behaviour at will. */
  readonly files: Map<string, ServedFile>
  readonly behaviour: Behaviour
  /** Answers that are on their way. */
  readonly sending: () => number
  close(): Promise<void>
}

const chunk = 2 ** 18

/** Serves `files` by path; what `other` answers (with true) is not asked of them. */
export async function fileServer(
  files: Readonly<Record<string, ServedFile>>,
  behaviour: Behaviour = {},
  other: (request: IncomingMessage, response: ServerResponse) => boolean = () => false,
): Promise<FileServer> {
  const served = new Map(Object.entries(files))
  const requests: string[] = []
  async function* body(path: string, size: number, bytes: (from: number, to: number) => Uint8Array) {
    const cut = behaviour.cuts?.shift() ?? Infinity
    for (let sent = 0; sent < size; sent += chunk) {
      await behaviour.pause?.(sent, path)
      yield bytes(sent, Math.min(size, sent + chunk, cut))
      if (sent + chunk < cut) continue
      // What was sent shall arrive before the connection ends.
      await wait(100)
      throw new Error('cut')
    }
  }
  let sending = 0
  const server = createServer((request, response) => {
    if (other(request, response)) return
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    const send = (size: number, bytes: (from: number, to: number) => Uint8Array): void => {
      sending++
      response.on('close', () => sending--)
      pipeline(body(path, size, bytes), response).catch(() => {})
    }
    const { range } = request.headers
    requests.push(range === undefined ? path : `${path} ${range}`)
    const file = served.get(path)
    if (!file) return void response.writeHead(404).end()
    const size = file instanceof Uint8Array ? file.length : file.size
    const part = (from: number, to: number) =>
      file instanceof Uint8Array ? file.subarray(from, to) : file.bytes(from, to)
    const { etag = '"1"', ranges, gzip, headers } = behaviour
    for (const [name, value] of Object.entries({ ...headers, ...(etag !== null && { etag }) }))
      response.setHeader(name, value)
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []
    if (first === undefined || ranges === 'ignores') {
      if (gzip) {
        const zipped = gzipSync(part(0, size))
        return void response.setHeader('content-encoding', 'gzip').writeHead(200).end(zipped)
      }
      response.writeHead(200, { 'content-length': size })
      return send(size, part)
    }
    const from = Number(first)
    if (from >= size) return void response.writeHead(416, { 'content-range': `bytes */${size}` }).end()
    const end = Math.min(size, last ? Number(last) + 1 : size) - (ranges === 'short' ? 1 : 0)
    response.writeHead(206, {
      'content-length': end - from,
      ...(ranges !== 'hides' && { 'content-range': `bytes ${from}-${end - 1}/${size}` }),
    })
    return send(end - from, (a, b) => part(from + a, from + b))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    files: served,
    behaviour,
    sending: () => sending,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
