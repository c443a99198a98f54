/** Files of a web server: in how few requests they come, and what servers do to them on the way. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { encodeSafetensors, openCheckpoint, urlSource, type ByteSource } from '../src/io/index.ts'
import { encodeHeader } from '../src/io/safetensors.ts'
import { fileServer, type Behaviour, type FileServer, type ServedFile } from './file-server.ts'
import { ascii, concat, refuses } from './io-fixtures.ts'

const MiB = 2 ** 20
const bytes = concat(...encodeSafetensors([['w', { shape: [2], data: Float32Array.of(1, 2) }]]))
const reason = new Error('enough')

let server: FileServer
/** The URL of a file served so. */
const serve = async (file: ServedFile = bytes, behaviour: Behaviour = {}): Promise<string> => {
  server = await fileServer({ '/w': file }, behaviour)
  return `${server.origin}/w`
}
afterEach(() => server.close())

const readW = async (source: ByteSource) => {
  const checkpoint = await openCheckpoint(source)
  const data = await checkpoint.tensors.get('w')!.read()
  await checkpoint.close()
  return data
}

/** 100 tensors of 3 MiB; each begins with its number. */
function large(): ServedFile & { size: number } {
  const names = Array.from({ length: 100 }, (_, i) => `w${i}`)
  const header = encodeHeader(
    names.map((name) => ({ name, dtype: 'F32' as const, shape: [3 * 2 ** 18] })),
    {},
  )
  const size = header.length + 300 * MiB
  return {
    size,
    bytes(from, to) {
      const part = Buffer.alloc(to - from)
      if (from < header.length) part.set(header.subarray(from, to))
      for (let i = 0; i < 100; i++) {
        const at = header.length + i * 3 * MiB
        const number = Buffer.from(Float32Array.of(i + 1).buffer)
        for (let b = 0; b < 4; b++) if (at + b >= from && at + b < to) part[at + b - from] = number[b]
      }
      return part
    },
  }
}

describe('a small file', () => {
  test('comes in one request, whatever is read of it', async () => {
    const weights = readFileSync(new URL('../weights/bccd32-adm.safetensors', import.meta.url))
    const source = await urlSource(await serve(weights))
    const checkpoint = await openCheckpoint(source)
    for (const tensor of checkpoint.tensors.values()) await tensor.read()
    expect(
      createHash('sha256')
        .update(await source.read(0, source.size))
        .digest('hex'),
    ).toBe(createHash('sha256').update(weights).digest('hex'))
    expect(server.requests).toEqual(['/w'])
    await checkpoint.close()
    expect((await source.read(0, 8))[0], 'after it let go of its bytes').toBe(weights[0])
    expect(server.requests).toEqual(['/w', '/w'])
  })

  test('tells what arrives, and how much it will be', async () => {
    const told: [number, number | null][] = []
    const file = new Uint8Array(5 * MiB)
    await urlSource(await serve(file), { onProgress: (done, total) => told.push([done, total]) })
    expect(told[0]).toEqual([0, file.length])
    expect(told.at(-1)).toEqual([file.length, file.length])
    expect(told.length).toBeGreaterThan(3)
    expect(told.map(([done]) => done)).toEqual(told.map(([done]) => done).sort((a, b) => a - b))
  })

  test('compressed on its way, is read as it is, and nobody promises its length', async () => {
    const told: (number | null)[] = []
    const source = await urlSource(await serve(bytes, { gzip: true }), { onProgress: (_, total) => told.push(total) })
    expect(await readW(source)).toEqual(Float32Array.of(1, 2))
    expect(source.size).toBe(bytes.length)
    expect(new Set(told)).toEqual(new Set([null]))
  })

  test('of no bytes', async () => {
    expect((await urlSource(await serve(new Uint8Array(0)))).size).toBe(0)
  })

  test('that breaks off is refused, and not taken for whole', async () => {
    const url = await serve(new Uint8Array(2 * MiB), { cuts: [MiB] })
    await refuses(urlSource(url), 'format', url)
  })

  test('is aborted in the middle of its transfer', async () => {
    const controller = new AbortController()
    const url = await serve(new Uint8Array(4 * MiB), { pause: async (sent) => sent > MiB && new Promise(() => {}) })
    const opening = urlSource(url, {
      signal: controller.signal,
      onProgress: (done) => done > MiB / 2 && controller.abort(reason),
    })
    await expect(opening).rejects.toBe(reason)
  })
})

describe('a large file', () => {
  test('comes in a few dozen ranges, each once when it is read in order', async () => {
    const file = large()
    const told: [number, number | null][] = []
    const url = await serve(file)
    const checkpoint = await openCheckpoint(await urlSource(url, { onProgress: (...now) => told.push(now) }))
    // A header does not cost the weights behind it.
    expect(server.requests).toEqual(['/w', '/w bytes=0-16777215'])
    for (let i = 0; i < 100; i++) {
      const data = (await checkpoint.tensors.get(`w${i}`)!.read()) as Float32Array
      expect([data.length, data[0], data[1], data.at(-1)]).toEqual([3 * 2 ** 18, i + 1, 0, 0])
    }
    expect(server.requests).toHaveLength(20)
    expect(told.at(-1)).toEqual([file.size, file.size])
    // Its end and its beginning again, as of a zip: 2 requests, and no byte is counted twice.
    await checkpoint.tensors.get('w99')!.read()
    await checkpoint.tensors.get('w0')!.read()
    await checkpoint.tensors.get('w1')!.read()
    expect(server.requests).toHaveLength(21)
    expect(told.at(-1)).toEqual([file.size, file.size])
    expect(told.length, 'no number is told twice').toBe(new Set(told.map(([done]) => done)).size)
    await checkpoint.close()
  })

  test('from a server without ranges, or one that hides them, comes whole', async () => {
    const file = { size: 65 * MiB, bytes: (from: number, to: number) => Buffer.alloc(to - from, 7) }
    for (const [ranges, requests] of [
      ['ignores', ['/w', '/w bytes=0-16777215']],
      ['hides', ['/w', '/w bytes=0-16777215', '/w']],
    ] as const) {
      const source = await urlSource(await serve(file, { ranges }))
      expect(source.size).toBe(file.size)
      expect(await source.read(file.size - 1, 1)).toEqual(Uint8Array.of(7))
      expect(server.requests).toEqual(requests)
      await server.close()
    }
  })

  test('that changes while it is read, or comes short, is refused', async () => {
    const url = await serve(large())
    const source = await urlSource(url)
    server.behaviour.etag = '"2"'
    await refuses(source.read(100 * MiB, 4), 'format', 'the file changed on the server while it was read')
    server.behaviour.etag = '"1"'
    expect(await source.read(100 * MiB, 4)).toHaveLength(4)
    server.files.set('/w', { ...large(), size: 301 * MiB })
    await refuses(source.read(200 * MiB, 4), 'format', 'the file changed on the server while it was read')
    server.files.set('/w', large())
    server.behaviour.ranges = 'short'
    await refuses(source.read(200 * MiB, 4), 'format', '16777216 bytes at offset 201326592', 'found 16777215')
  })

  test("is read by two at once: one's abort does not end the other's read", async () => {
    const source = await urlSource(await serve(large()))
    const controller = new AbortController()
    const [one, other] = [source.read(100 * MiB, 8, controller.signal), source.read(100 * MiB, 8)]
    controller.abort(reason)
    await expect(one).rejects.toBe(reason)
    expect(await other).toHaveLength(8)
  })

  test('whose transfer breaks is refused, and goes on at the next read', async () => {
    const url = await serve(large())
    const source = await urlSource(url)
    server.behaviour.cuts = [MiB]
    await refuses(source.read(100 * MiB, 8), 'format', url)
    expect(await source.read(100 * MiB, 8)).toHaveLength(8)
    await refuses(source.read(301 * MiB, 8), 'format', 'the end of the file')
  })
})

describe('what is no file', () => {
  test('a server that refuses, and none', async () => {
    const url = await serve()
    await refuses(urlSource(url.replace('/w', '/x')), 'option', '/x: the server answered 404 Not Found. Check the URL')
    await expect(urlSource(url, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    await server.close()
    await refuses(urlSource(url), 'format', `${url}: reading failed (fetch failed, ECONNREFUSED): is the server there`)
  })

  test.each([
    ['<!doctype html><title>My app</title>', 'found a page of HTML: servers send one for what they do not have'],
    ['\n<html lang="en">', 'found a page of HTML'],
    ['version https://git-lfs.github.com/spec/v1\noid sha256:…', 'found a pointer of Git LFS'],
  ])('%j with status 200 is said to be what it is', async (text, found) => {
    const url = await serve(ascii(text))
    await refuses(urlSource(url), 'format', `${url}: expected weights`, found)
  })
})
