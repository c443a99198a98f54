/** HTTPS_PROXY, HTTP_PROXY and NO_PROXY: which address is asked by which, and a real proxy of this file's own. */
import { readdirSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { download, openCheckpoint, urlSource } from '../src/io/index.node.ts'
import { proxyFor } from '../src/io/proxy.node.ts'
import { nodeFiles } from '../src/tweedie/files.node.ts'
import { temporaryFolder } from './cli.ts'
import { refuses } from './io-fixtures.ts'
import { encodeSafetensors } from '../src/io/index.ts'
import { readFile } from 'node:fs/promises'

// 8 KiB count as 64 MiB: the most that a file may have is 1 MiB here.
vi.mock('../src/io/http.ts', async (actual) => {
  const http = await actual<typeof import('../src/io/http.ts')>()
  const checkSize = (url: string, bytes: number): void => http.checkSize(url, 2 ** 13 * bytes)
  return { ...http, checkSize, mostBytes: http.mostBytes / 2 ** 13 }
})

const folder = temporaryFolder()
const servers: Server[] = []
afterEach(() => vi.unstubAllEnvs())
afterAll(() => servers.forEach((server) => server.close()))

const started = (server: Server): Promise<number> =>
  new Promise((resolve) => {
    servers.push(server)
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })

const weights = Buffer.concat(encodeSafetensors([['w', { shape: [1], data: Float32Array.of(5) }]]))

/** A server of one file, and a proxy that leads every name to it, or refuses. */
async function setUp({ refuses = false } = {}) {
  const port = await started(createServer((_, response) => response.end(weights)))
  const asked: string[] = []
  const proxy = createServer().on('connect', (request, socket, head) => {
    asked.push(`${request.url} ${request.headers['proxy-authorization'] ?? ''}`.trim())
    if (refuses) return void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const server = connect({ host: '127.0.0.1', port }, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      server.write(head)
      socket.pipe(server).pipe(socket)
    })
    for (const end of [server, socket]) end.on('error', () => {})
  })
  return { port, asked, proxy: `127.0.0.1:${await started(proxy)}` }
}

describe('which proxy an address has', () => {
  const of = (url: string, environment: Record<string, string>) => proxyFor(new URL(url), environment)?.href ?? null
  const HTTPS_PROXY = 'http://proxy:3128'

  test.each([
    ['https://a.org/x', { HTTPS_PROXY }, 'http://proxy:3128/'],
    ['https://a.org/x', { https_proxy: 'proxy:1', HTTPS_PROXY }, 'http://proxy:1/'],
    ['http://a.org/x', { HTTPS_PROXY }, null],
    ['http://a.org/x', { HTTP_PROXY: 'https://proxy' }, 'https://proxy/'],
    ['https://a.org/x', { HTTPS_PROXY, NO_PROXY: 'a.org' }, null],
    ['https://b.a.org/x', { HTTPS_PROXY, no_proxy: 'c.org, .A.org' }, null],
    ['https://ba.org/x', { HTTPS_PROXY, NO_PROXY: 'a.org' }, 'http://proxy:3128/'],
    ['https://a.org:8443/x', { HTTPS_PROXY, NO_PROXY: 'a.org:443' }, 'http://proxy:3128/'],
    ['https://a.org/x', { HTTPS_PROXY, NO_PROXY: '*.a.org:443' }, null],
    ['https://[::1]/x', { HTTPS_PROXY, NO_PROXY: '::1' }, null],
    ['https://a.org/x', { HTTPS_PROXY, NO_PROXY: '*' }, null],
    ['https://a.org/x', { HTTPS_PROXY: '' }, null],
  ])('%s with %j: %s', (url, environment, proxy) => {
    expect(of(url, environment)).toBe(proxy)
  })

  test('what is none is refused, without a word of what it says', () => {
    expect(() => of('https://a.org', { HTTPS_PROXY: 'socks5://me:secret@h' })).toThrow(
      /^HTTPS_PROXY: expected the address/,
    )
  })
})

test('a download and the weights of an address come through it, hosts of NO_PROXY do not', async () => {
  const { asked, proxy, port } = await setUp()
  vi.stubEnv('http_proxy', `http://me:se%40cret@${proxy}`)
  vi.stubEnv('no_proxy', `127.0.0.1:${port}`)
  const file = await download('http://weights.invalid/w.safetensors', folder('d'), 'w', ({ path }) => readFile(path))
  expect(file.equals(weights)).toBe(true)
  const checkpoint = await openCheckpoint(await nodeFiles.open('http://weights.invalid:81/w.safetensors'))
  expect([...(await checkpoint.tensors.get('w')!.read())]).toEqual([5])
  const user = `Basic ${Buffer.from('me:se@cret').toString('base64')}`
  expect((await urlSource('http://weights.invalid:82/w')).size).toBe(weights.length)
  expect(asked).toEqual([80, 81, 82].map((port) => `weights.invalid:${port} ${user}`))
  await nodeFiles.open(`http://127.0.0.1:${port}/w.safetensors`)
  expect(asked.length).toBe(3)
})

test('one that refuses, and one that is not there, are named', async () => {
  const { proxy, asked } = await setUp({ refuses: true })
  vi.stubEnv('https_proxy', `http://${proxy}`)
  const get = () => download('https://weights.invalid/w', folder('r'), 'w', async () => {})
  await refuses(get(), 'format', `the proxy http://${proxy} answered 403`)
  await refuses(nodeFiles.open('https://weights.invalid/w'), 'format', `the proxy http://${proxy} answered 403`)
  expect(asked).toEqual(['weights.invalid:443', 'weights.invalid:443'])
  vi.stubEnv('https_proxy', 'http://127.0.0.1:9')
  await refuses(get(), 'format', 'the proxy http://127.0.0.1:9: connect ECONNREFUSED')
})

test('what does not say how long it is, and never ends, is refused at the most that a file may have', async () => {
  const sent: number[] = []
  const gone: Promise<void>[] = []
  const port = await started(
    createServer((_, response) => {
      const mine = sent.push(0) - 1
      const piece = Buffer.alloc(2 ** 16, 1)
      const send = (): void => {
        while (response.write(piece)) sent[mine] += piece.length
      }
      response.on('drain', send)
      gone.push(new Promise((resolve) => void response.on('close', resolve)))
      send()
    }),
  )
  const url = `http://127.0.0.1:${port}/w`
  const refused = [
    () => download(url, folder('endless'), 'w', async () => {}),
    () => urlSource(url),
    () => nodeFiles.open(url),
  ]
  for (const get of refused) await refuses(get(), 'format', 'at most 8 GiB, found 8.')
  await Promise.all(gone)
  expect(Math.max(...sent)).toBeLessThan(2 ** 25)
  expect(readdirSync(folder('endless'))).toEqual([])
})

test('what says that it is larger than any file is refused at once, and names stay in their folder', async () => {
  const port = await started(
    createServer((_, response) => {
      response.writeHead(200, { 'content-length': 2 ** 40 })
      response.write('x')
    }),
  )
  const url = `http://127.0.0.1:${port}/w`
  await refuses(
    download(url, folder('big'), 'w', async () => {}),
    'format',
    'at most 8 GiB, found',
  )
  await refuses(nodeFiles.open(url), 'format', 'at most 8 GiB')
  for (const name of ['../w', '..', 'a/b', 'a\\b', ''])
    await refuses(
      download(url, folder('big'), name, async () => {}),
      'option',
      'expected a name',
    )
})
