/**
 * Downloads against a server of this file's own on localhost, which breaks off, knows no ranges, changes its file, or
 * says no; and published weights through them: joined, converted, checked, kept.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { build } from 'esbuild'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { catalogue, filesOf, type CatalogueEntry, type PublishedFile } from '../src/tweedie/catalogue.ts'
import { entryNamed } from '../src/cli/commands/fetch.ts'
import { fetchWeights } from '../src/tweedie/fetch.node.ts'
import { openSpace, spaceNames } from '../src/metrics/index.ts'
import { describeModel, lpipsStateDict, planOf, preset, presetNames, stateDictOf } from '../src/nn/index.ts'
import { batchNormEntries } from '../src/nn/fold.ts'
import { lpipsNetOf } from '../src/nn/lpips-plan.ts'
import { download, openCheckpoint, openFile, type DownloadOptions } from '../src/io/index.node.ts'
import { temporaryFolder, tensorIn, tweedie } from './cli.ts'
import { testDevice } from './op.ts'
import { refuses, torchLegacy, torchZip, type FixtureTensor } from './io-fixtures.ts'

const at = temporaryFolder()
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** 1 MiB in which no two places look alike. */
const bytes = new Uint8Array(new Uint32Array(2 ** 18).map((_, i) => Math.imul(i, 2654435761)).buffer)

/** How the server behaves; each test sets what it needs. */
interface Behaviour {
  file: Uint8Array
  etag: string | null
  lastModified: string | null
  ranges: boolean
  /** Ends the connection after so many bytes of a body, of the first response, the second, …; null: does not. */
  breaks: (number | null)[]
  /** Says that the body is this much longer than it is. */
  overstated: number
  /** Sends no length. */
  chunked: boolean
  status: number
  /** Milliseconds between pieces of 64 KiB. */
  slow: number
  /** Sends so many bytes of a body and then nothing, with the connection open. */
  hangs: number | null
}
const quiet: Behaviour = {
  file: bytes,
  etag: '"v1"',
  lastModified: null,
  ranges: true,
  breaks: [],
  overstated: 0,
  chunked: false,
  status: 200,
  slow: 0,
  hangs: null,
}
let now: Behaviour = { ...quiet }
let asked: IncomingMessage['headers'][] = []
let server: Server
let files = new Map<string, Uint8Array>()
let base = ''
let url = ''

beforeAll(async () => {
  server = createServer(
    (request, response) =>
      void (async () => {
        asked.push(request.headers)
        const file = files.get(request.url ?? '') ?? now.file
        if (now.status !== 200) return response.writeHead(now.status).end('<html>no</html>')
        const { range, 'if-range': condition } = request.headers
        const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? NaN)
        const same = condition === undefined || condition === now.etag || condition === now.lastModified
        const part = now.ranges && same && Number.isFinite(start)
        if (part && start >= file.length)
          return response.writeHead(416, { 'Content-Range': `bytes */${file.length}` }).end()
        const body = part ? file.subarray(start) : file
        response.writeHead(part ? 206 : 200, {
          ...(now.etag === null ? {} : { ETag: now.etag }),
          ...(now.lastModified === null ? {} : { 'Last-Modified': now.lastModified }),
          ...(part ? { 'Content-Range': `bytes ${start}-${file.length - 1}/${file.length}` } : {}),
          ...(now.chunked ? {} : { 'Content-Length': body.length + now.overstated }),
        })
        const { hangs } = now
        const end = hangs ?? now.breaks.shift() ?? null
        for (let from = 0; from < (end ?? body.length); from += 65536) {
          if (response.destroyed) return
          const piece = body.subarray(from, Math.min(from + 65536, end ?? body.length))
          await new Promise((done) => response.write(piece, done))
          if (now.slow > 0) await new Promise((done) => setTimeout(done, now.slow))
        }
        if (hangs !== null) return
        if (end === null && now.overstated === 0) response.end()
        else {
          await written((part ? start : 0) + (end ?? body.length))
          response.destroy()
        }
      })(),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  url = `${base}/model.pt`
})
afterAll(() => void server.close())
beforeEach(() => {
  now = { ...quiet }
  asked = []
  files = new Map()
})

/**
 * Waits until a client has written so many bytes of a file: when a connection breaks it loses what it was sent and has
 * not read. A second, where it keeps no file.
 */
async function written(bytes: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const sizes = readdirSync(at('.'), { recursive: true }).map(
      (name) => statSync(at(String(name)), { throwIfNoEntry: false })?.size,
    )
    if (sizes.includes(bytes)) return
    await new Promise((done) => setTimeout(done, 5))
  }
}

let folders = 0
const newFolder = (): string => at(`folder${folders++}`)

/** Downloads and takes the bytes. */
const get = (
  folder: string,
  options: DownloadOptions = {},
): Promise<{ data: Uint8Array; resumedFrom: number; sha256: string }> =>
  download(
    url,
    folder,
    'model.pt',
    async ({ path, resumedFrom, sha256 }) => ({ data: new Uint8Array(readFileSync(path)), resumedFrom, sha256 }),
    options,
  )

const equal = (data: Uint8Array): boolean => Buffer.compare(data, now.file) === 0

describe('download', () => {
  test('a whole file, with progress, its hash, and nothing left behind', async () => {
    const folder = newFolder()
    const progress: [number, number | null][] = []
    const {
      data,
      resumedFrom,
      sha256: found,
    } = await get(folder, { sha256: sha256(bytes), onProgress: (done, total) => progress.push([done, total]) })
    expect([equal(data), resumedFrom, found]).toEqual([true, 0, sha256(bytes)])
    expect([progress[0], progress.at(-1)]).toEqual([
      [0, bytes.length],
      [bytes.length, bytes.length],
    ])
    expect(progress.every(([done], i) => i === 0 || done > progress[i - 1][0])).toBe(true)
    expect(asked).toHaveLength(1)
    expect(asked[0]).toMatchObject({ 'accept-encoding': 'identity' })
    expect(readdirSync(folder)).toEqual([])
  })

  test('a transfer that breaks is taken up again at the byte where it ended', async () => {
    now.breaks = [300_000, 200_000]
    const { data, resumedFrom } = await get(newFolder())
    expect([equal(data), resumedFrom]).toEqual([true, 0])
    expect(asked.map(({ range, 'if-range': condition }) => [range, condition])).toEqual([
      [undefined, undefined],
      ['bytes=300000-', '"v1"'],
      ['bytes=500000-', '"v1"'],
    ])
  })

  test('one that brings nothing more is an error, and the next run goes on with what is there', async () => {
    const folder = newFolder()
    now.breaks = [400_000, 0]
    await refuses(get(folder), 'format', /400000 bytes are kept: .*goes on where it ended/)
    expect(readdirSync(folder)).toHaveLength(1)
    const { data, resumedFrom } = await get(folder)
    expect([equal(data), resumedFrom, asked.at(-1)!.range]).toEqual([true, 400_000, 'bytes=400000-'])
    expect(readdirSync(folder)).toEqual([])
  })

  test('a body shorter than announced is not taken for the file', async () => {
    now.overstated = 10
    now.ranges = false
    now.breaks = [null, null]
    await refuses(get(newFolder()), 'format', /download broke/)
  })

  test.each([
    ['an ETag', {}],
    ['a date', { etag: null, lastModified: 'Wed, 21 Oct 2015 07:28:00 GMT' }],
    ['the length alone', { etag: null }],
    ['a weak ETag, which proves nothing, and the length', { etag: 'W/"v1"' }],
  ])('resumes by %s', async (_, behaviour) => {
    const folder = newFolder()
    Object.assign(now, behaviour, { breaks: [400_000, 0] })
    await refuses(get(folder), 'format')
    expect((await get(folder)).resumedFrom).toBe(400_000)
    expect(asked.at(-1)!['if-range']).toBe(now.etag?.startsWith('"') ? now.etag : (now.lastModified ?? undefined))
  })

  test.each([
    ['knows no ranges', { ranges: false }],
    ['has another file, says its ETag', { etag: '"v2"', file: bytes.toReversed() }],
    ['has another file without an ETag, says its length', { etag: null, file: bytes.subarray(0, 900_000) }],
    ['has a shorter file than what is there', { etag: null, file: bytes.subarray(0, 300_000) }],
  ])('starts over where the server %s', async (name, behaviour) => {
    const folder = newFolder()
    now.breaks = [400_000, 0]
    if (name !== 'knows no ranges' && 'etag' in behaviour && behaviour.etag === null) now.etag = null
    await refuses(get(folder), 'format')
    Object.assign(now, behaviour)
    const { data, resumedFrom } = await get(folder)
    expect([equal(data), resumedFrom]).toEqual([true, 0])
  })

  test('starts over where neither a validator nor a length was given', async () => {
    const folder = newFolder()
    Object.assign(now, { etag: null, chunked: true, breaks: [400_000, 0] })
    await refuses(get(folder), 'format')
    const { data, resumedFrom } = await get(folder)
    expect([equal(data), resumedFrom, asked.at(-1)!.range]).toEqual([true, 0, undefined])
  })

  test('another hash: nothing is kept', async () => {
    const folder = newFolder()
    await refuses(get(folder, { sha256: 'ab'.repeat(32) }), 'format', url, 'abab', sha256(bytes), /removed/)
    await refuses(get(folder, { sha256: 'deadbeef' }), 'format', 'deadbeef…')
    expect((await get(folder, { sha256: sha256(bytes).slice(0, 8) })).sha256).toBe(sha256(bytes))
    expect(readdirSync(folder)).toEqual([])
  })

  test.each([
    [404, /404 Not Found.*not at this address/],
    [401, /401.*may want a login/],
    [403, /403.*may want a login/],
    [503, /503.*later/],
  ])('status %i', async (status, message) => {
    now.status = status
    const folder = newFolder()
    await refuses(get(folder), 'option', url, message)
    expect(asked).toHaveLength(1)
  })

  test('no server', async () => {
    const folder = newFolder()
    await refuses(
      download('http://127.0.0.1:9/x', folder, 'x', async () => {}),
      'format',
      /(ECONNREFUSED|bad port).*Nothing has arrived/,
    )
    expect(readdirSync(folder)).toEqual([])
  })

  test('an abort keeps what is there', async () => {
    const folder = newFolder()
    const controller = new AbortController()
    const reason = new Error('enough')
    const stopped = get(folder, {
      signal: controller.signal,
      onProgress: (done) => done > 200_000 && controller.abort(reason),
    })
    await expect(stopped).rejects.toBe(reason)
    const { data, resumedFrom } = await get(folder)
    expect(equal(data)).toBe(true)
    expect(resumedFrom).toBeGreaterThan(200_000)
    await expect(get(folder, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  test('a process that is killed leaves a part that the next one goes on with; one that lives does not', async () => {
    const folder = newFolder()
    const script = at('download.mjs')
    await build({
      entryPoints: ['src/io/download.node.ts'],
      outfile: script,
      bundle: true,
      platform: 'node',
      format: 'esm',
    })
    const run = `import { download } from ${JSON.stringify(script)}
      await download(${JSON.stringify(url)}, ${JSON.stringify(folder)}, 'model.pt', async () => {}, { onProgress: (done) => console.log(done) })`
    now.hangs = 400_000
    const child = spawn(process.execPath, ['--input-type=module', '-e', run], { stdio: ['ignore', 'pipe', 'inherit'] })
    await new Promise<void>((far) =>
      child.stdout.on('data', (text: Buffer) => Number(String(text).trim().split('\n').at(-1)) === 400_000 && far()),
    )
    now.hangs = null
    expect((await get(folder)).resumedFrom).toBe(0)
    const [part] = readdirSync(folder)
    expect(part).toContain(`-${child.pid}-`)
    await new Promise((ended) => {
      child.once('exit', ended)
      child.kill('SIGKILL')
    })
    const { data, resumedFrom } = await get(folder)
    expect([equal(data), resumedFrom]).toEqual([true, 400_000])
    expect(readdirSync(folder)).toEqual([])
  })

  test('of two at once, one goes on with a part and the other begins its own', async () => {
    const folder = newFolder()
    now.breaks = [400_000, 0]
    await refuses(get(folder), 'format')
    now.slow = 2
    const both = await Promise.all([get(folder), get(folder)])
    expect(both.map(({ data }) => equal(data))).toEqual([true, true])
    expect(both.map(({ resumedFrom }) => resumedFrom).sort((a, b) => a - b)).toEqual([0, 400_000])
    expect(readdirSync(folder)).toEqual([])
  })

  test('a part of another address is not mixed in', async () => {
    const folder = newFolder()
    now.breaks = [400_000, 0]
    await refuses(get(folder), 'format')
    files.set('/other.pt', bytes.toReversed())
    const other = await download(`${base}/other.pt`, folder, 'model.pt', async ({ path, resumedFrom }) => [
      Buffer.compare(readFileSync(path), bytes.toReversed()),
      resumedFrom,
    ])
    expect(other).toEqual([0, 0])
  })

  test('what `use` does not manage is tried again without a download, unless the file is to blame', async () => {
    const folder = newFolder()
    const full = Object.assign(new Error('ENOSPC'), { syscall: 'write' })
    await expect(download(url, folder, 'model.pt', () => Promise.reject(full))).rejects.toBe(full)
    const kept = at('kept.pt')
    await download(url, folder, 'model.pt', ({ path }) => rename(path, kept))
    expect([asked.length, equal(new Uint8Array(readFileSync(kept)))]).toEqual([1, true])
    await refuses(
      download(url, folder, 'model.pt', async ({ path }) => void (await openCheckpoint(await openFile(path)))),
      'format',
    )
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('fetch', () => {
  const tensor = (name: string, shape: readonly number[], k: number): FixtureTensor => ({
    name,
    shape,
    type: 'Float',
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + k)),
  })
  const squeeze = [...lpipsStateDict('squeeze')].map(([name, shape], k) => tensor(name, shape, k))
  // What a published backbone holds behind its features.
  const backbone = torchLegacy([
    ...squeeze.filter(({ name }) => name.startsWith('features')),
    tensor('classifier.1.bias', [1000], 99),
  ])
  const lin = torchZip(squeeze.filter(({ name }) => name.startsWith('lin')))

  const published = (path: string, file: Uint8Array, digits?: number): PublishedFile => {
    files.set(path, file)
    return {
      url: base + path,
      source: 'this test',
      ...(digits && { sha256: { digits: sha256(file).slice(0, digits), source: 'this test' } }),
    }
  }
  const lpips = (): CatalogueEntry => ({
    kind: 'lpips',
    name: 'lpips_squeeze',
    net: 'squeeze',
    licence: 'none',
    backbone: published('/backbone.pth', backbone, 8),
    lin: published('/lin.pth', lin, 64),
  })

  test('LPIPS: backbone and linear layers become one file, which --lpips takes', async () => {
    const folder = newFolder()
    const said: string[] = []
    const path = await fetchWeights(lpips(), folder, { onHash: (file, hash) => said.push(file, hash) })
    expect(path).toBe(`${folder}/lpips_squeeze.safetensors`)
    const file = await openCheckpoint(await openFile(path))
    expect([...file.tensors].map(([name, { shape }]) => [name, shape])).toEqual([...lpipsStateDict('squeeze')])
    expect(lpipsNetOf(file.tensors.keys(), path)).toBe('squeeze')
    for (const { name, data } of squeeze) expect(await file.tensors.get(name)!.read(), name).toEqual(data)
    expect(JSON.parse(file.metadata.source)).toEqual([
      { url: `${base}/backbone.pth`, sha256: sha256(backbone) },
      { url: `${base}/lin.pth`, sha256: sha256(lin) },
    ])
    await file.close()
    // Eight digits are published: the whole hash is recorded. All 64: nothing need be.
    expect(said).toEqual(['backbone.pth', sha256(backbone)])
    expect(readdirSync(folder).sort()).toEqual(['backbone.pth.sha256', 'lpips_squeeze.safetensors'])
  })

  test('a second time nothing is asked', async () => {
    const folder = newFolder()
    const entry = lpips()
    const path = await fetchWeights(entry, folder)
    asked = []
    expect(await fetchWeights(entry, folder)).toBe(path)
    expect(asked).toEqual([])
  })

  test('two at once', async () => {
    const folder = newFolder()
    const entry = lpips()
    const [one, two] = await Promise.all([fetchWeights(entry, folder), fetchWeights(entry, folder)])
    expect(one).toBe(two)
    expect((await tensorIn(one, 'lin0.model.1.weight')).shape).toEqual([1, 64, 1, 1])
    expect(readdirSync(folder).sort()).toEqual(['backbone.pth.sha256', 'lpips_squeeze.safetensors'])
  })

  test('a hash that nobody published: recorded, and compared the next time', async () => {
    const folder = newFolder()
    const entry = lpips() as Extract<CatalogueEntry, { kind: 'lpips' }>
    const unhashed = { ...entry, lin: { url: entry.lin.url, source: 'this test' } }
    const path = await fetchWeights(unhashed, folder)
    expect(readFileSync(`${folder}/lin.pth.sha256`, 'utf8')).toBe(`${sha256(lin)}  lin.pth\n`)
    rmSync(path)
    files.set(
      '/lin.pth',
      torchZip(
        squeeze
          .filter(({ name }) => name.startsWith('lin'))
          .map((t) => ({ ...t, data: new Float32Array(t.data.length) })),
      ),
    )
    await refuses(fetchWeights(unhashed, folder), 'format', /lin\.pth.*first download.*remove .*lin\.pth\.sha256/s)
    expect(existsSync(path)).toBe(false)
    files.set('/lin.pth', lin)
    expect(await fetchWeights(unhashed, folder)).toBe(path)
  })

  test('a broken file, another network, a file that ends early: nothing under the name', async () => {
    const folder = newFolder()
    const entry = lpips() as Extract<CatalogueEntry, { kind: 'lpips' }>
    await refuses(
      fetchWeights({ ...entry, lin: published('/x.pth', backbone.slice(0, 50_000)) }, folder),
      'format',
      `${base}/x.pth`.split('/').at(-1)!,
    )
    await refuses(fetchWeights({ ...entry, net: 'alex' }, folder), 'weights', /features/)
    now.breaks = [1000, 0]
    await refuses(fetchWeights(entry, folder), 'format', /1000 bytes are kept/)
    expect(readdirSync(folder).filter((name) => name.endsWith('.safetensors') || name.endsWith('.tmp'))).toEqual([])
  })

  test('a model: converted with what its preset says', async () => {
    const folder = newFolder()
    const { config, diffusion } = preset('mc_lsun')
    const tensors = [...stateDictOf(planOf(config))].map(([name, shape], k) => tensor(name, shape, k))
    const file = published('/mc_lsun.pt', torchZip(tensors))
    const path = await fetchWeights({ kind: 'model', name: 'mc_lsun', licence: 'none', file }, folder)
    const checkpoint = await openCheckpoint(await openFile(path))
    expect(describeModel(checkpoint)).toEqual({ config, diffusion, preset: 'mc_lsun' })
    expect(checkpoint.metadata.preset).toBe('mc_lsun')
    expect([...checkpoint.tensors.keys()]).toEqual(tensors.map(({ name }) => name))
    await checkpoint.close()
    await refuses(fetchWeights({ kind: 'model', name: 'mc_imagenet', licence: 'none', file }, folder), 'weights')
  })

  test('the network of a feature space: its tensors, and no counters of batch norms', async () => {
    const folder = newFolder()
    const shapes = new Map([['a.conv.weight', [2, 1, 1, 1]], ...batchNormEntries('a.bn', 2)])
    const tensors = [...shapes].map(([name, shape], k) => tensor(name, shape, k))
    const file = published('/space.pth', torchZip([...tensors, tensor('a.bn.num_batches_tracked', [], 9)]))
    const entry = { kind: 'space', name: 'space', licence: 'none', file } as const
    const checkpoint = await openCheckpoint(
      await openFile(await fetchWeights({ ...entry, stateDict: () => shapes }, folder)),
    )
    expect([...checkpoint.tensors.keys()]).toEqual([...shapes.keys()])
    expect(checkpoint.metadata.source).toContain('/space.pth')
    await checkpoint.close()
    const other = { ...entry, name: 'other', stateDict: () => new Map([['fc.weight', [2]]]) }
    await refuses(fetchWeights(other, folder), 'weights', /fc\.weight/)
  })

  test('what is fetched opens the space of its name: ResNet-18, without classifier and last stage', async () => {
    const entry = entryNamed('resnet18') as Extract<CatalogueEntry, { kind: 'space' }>
    const tensors = [...entry.stateDict()].map(([name, shape]): FixtureTensor => {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(
        1 / shape.slice(1).reduce((a, b) => a * b, 1),
      )
      return { name, shape, type: 'Float', data }
    })
    const file = published('/resnet18.pth', torchZip([...tensors, tensor('bn1.num_batches_tracked', [], 0)]))
    const path = await fetchWeights({ ...entry, file }, newFolder())
    const weights = await openCheckpoint(await openFile(path))
    using space = await openSpace(await testDevice('cpu'), 'resnet18', { weights })
    await weights.close()
    expect(space.dimension).toBe(256)
  })
})

describe('the catalogue', () => {
  test('every published model of the presets, LPIPS, networks of feature spaces, each with its sources', () => {
    const models = catalogue.filter(({ kind }) => kind === 'model').map(({ name }) => name)
    expect(models.sort()).toEqual(
      presetNames()
        .filter((name) => name === 'mc_lsun' || (!name.startsWith('mc_') && name !== 'celeba64_uncond'))
        .sort(),
    )
    expect(new Set(catalogue.map(({ name }) => name)).size).toBe(catalogue.length)
    for (const file of catalogue.flatMap(filesOf)) {
      expect(new URL(file.url).protocol).toBe('https:')
      expect(file.source).toMatch(/^\w[\w-]+\/[\w-]+ /)
      if (file.sha256) {
        expect(file.sha256.digits).toMatch(/^([0-9a-f]{8}|[0-9a-f]{64})$/)
        expect(file.sha256.source).not.toBe('')
      }
    }
    // Two files cannot have one hash: the mark of a copied line. (VGG-16 is a space, and a part of LPIPS.)
    const files = new Map(catalogue.flatMap(filesOf).map((file) => [file.url, file.sha256?.digits]))
    const hashes = [...files.values()].filter((digits) => digits !== undefined)
    expect(new Set(hashes).size).toBe(hashes.length)
  })

  test('a network of a feature space is fetched under the name of the space', () => {
    const spaces = catalogue.filter(({ kind }) => kind === 'space').map(({ name }) => name)
    expect(spaces.filter((name) => !(spaceNames as readonly string[]).includes(name))).toEqual([])
    expect(spaces).toEqual(
      expect.arrayContaining(['inception', 'resnet50', 'resnet50-v2', 'vgg16', 'dino-vits16', 'dino-vitb16']),
    )
  })

  test('an unknown name, and the one that lies where no program gets it', () => {
    expect(() => entryNamed('64x64_difusion')).toThrow(/did you mean "64x64_diffusion"/)
    expect(() => entryNamed('celeba64_uncond')).toThrow(/Google Drive.*convert/)
  })

  test('the command: a list, the path of a file that is there, and one line for a mistake', async () => {
    const folder = newFolder()
    mkdirSync(folder)
    writeFileSync(`${folder}/lsun_cat.safetensors`, '')
    const all = await tweedie(['fetch', '--to', folder])
    expect([all.code, all.out.length]).toEqual([0, catalogue.length + 1])
    expect(all.out.filter((line) => line.includes(' there '))).toEqual([expect.stringContaining('lsun_cat')])
    expect(await tweedie(['fetch', 'lsun_cat', '--to', folder])).toEqual({
      code: 0,
      out: [`${folder}/lsun_cat.safetensors`],
      err: [expect.stringContaining('nobody has published the whole sha256 of lsun_cat.pt')],
    })
    expect(await tweedie(['fetch', 'lsun_dog', '--to', folder])).toMatchObject({
      code: 1,
      out: [],
      err: [expect.stringContaining('lsun_dog')],
    })
  })
})
