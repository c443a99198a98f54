/**
 * What callers in JavaScript give by mistake: whatever an option of `Tweedie` or of its client is, it is taken or it is
 * refused by a TweedieError. Nothing fails in the engine's words, and nothing waits for ever.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { expose } from 'comlink'
import { TweedieClient } from '../src/client/index.ts'
import { WorkerPipeline } from '../src/client/pipeline.ts'
import { TweedieError } from '../src/errors.ts'
import { bytesSource, encodeSafetensors } from '../src/io/index.ts'
import { configMetadata } from '../src/nn/config-metadata.ts'
import { planOf, stateDictOf } from '../src/nn/index.ts'
import { Tweedie } from '../src/tweedie/index.ts'
import { loadOptions, sampleOptions, scoreOptions } from '../src/tweedie/option-names.ts'
import { version } from '../src/version.ts'
import { hashes } from './formula.ts'
import { base, cosine } from './small-models.ts'

const strange = [null, 5, '', {}, [null], () => {}]
const cpu = { backend: 'cpu', threads: 0, simd: 'plain' } as const
const values = new Float32Array(base.inChannels * base.imageSize ** 2)

/** A U-Net of 8 x 8 pictures, as the bytes of a file. */
async function modelFile(): Promise<Uint8Array> {
  const fill = hashes(1)
  const tensors = [...stateDictOf(planOf(base))].map(
    ([key, shape], j) => [key, { shape, data: fill(key, shape, j) }] as const,
  )
  const chunks: Uint8Array[] = []
  for await (const chunk of encodeSafetensors(tensors, configMetadata(base, cosine))) chunks.push(chunk)
  return Buffer.concat(chunks)
}

let file: Uint8Array
beforeAll(async () => void (file = await modelFile()))

/** What was thrown that is no TweedieError, by what was given. */
async function untyped(
  names: readonly string[],
  call: (options: never) => Promise<unknown>,
): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {}
  const tried = async (name: string, options: unknown): Promise<void> => {
    try {
      await call(options as never)
    } catch (error) {
      if (!(error instanceof TweedieError)) found[name] = error
    }
  }
  for (const value of strange) {
    const text = typeof value === 'function' ? 'a function' : JSON.stringify(value)
    await tried(text, value)
    for (const name of names) await tried(`${name}: ${text}`, { [name]: value })
  }
  return found
}

type Loads = (model: never, options: never) => Promise<Pick<Tweedie | TweedieClient, 'dispose'>>
const with_ = (options: object, more: object): never =>
  (typeof options === 'object' && options !== null ? { ...more, ...options } : options) as never

const loading = (load: Loads, names: readonly string[]): Promise<object> =>
  untyped(names, async (options) => (await load(file as never, with_(options, cpu))).dispose())
const drawing = (model: Pick<Tweedie | TweedieClient, 'sample'>, names: readonly string[]): Promise<object> =>
  untyped(names, async (options) => {
    for await (const _ of model.sample(with_(options, { number: 1, steps: 1 }))) break
  })
const scoring = (score: (values: Float32Array, options: never) => Promise<unknown>, names: readonly string[]) =>
  untyped(names, (options) => score(values, options))

describe('Tweedie', () => {
  test('load', async () => {
    expect(await loading((what, options) => Tweedie.load(what, options), Object.keys(loadOptions))).toEqual({})
    expect(await untyped([], (what) => Tweedie.load(what, cpu))).toEqual({})
  })

  test('sample, score, reconstruct, record', async () => {
    using model = await Tweedie.load(bytesSource(file), cpu)
    expect(await drawing(model, Object.keys(sampleOptions))).toEqual({})
    const names = Object.keys(scoreOptions)
    expect(await scoring((...given) => model.score(...given), names)).toEqual({})
    expect(await scoring((...given) => model.reconstruct(...given), names)).toEqual({})
    expect(await untyped([], (pictures) => model.score(pictures))).toEqual({})
    expect(await untyped(['data', 'width'], (picture) => model.score([picture]))).toEqual({})
    expect(await untyped([], (step) => model.record(step))).toEqual({})
  })
})

/** A worker's program in this process, as the client starts it. `silent`: another program, which never answers. */
function worker(pipeline: object | 'silent' = new WorkerPipeline()): Worker {
  // Node 20 has none; this one has no locks.
  vi.stubGlobal('navigator', {})
  const { port1: page, port2: inner } = new MessageChannel()
  if (pipeline !== 'silent') {
    expose(pipeline, inner as never)
    inner.postMessage({ version })
  }
  const terminate = (): void => (page.close(), inner.close())
  page.start()
  return Object.assign(page, { terminate, onerror: null }) as unknown as Worker
}

describe('TweedieClient', () => {
  afterEach(() => {
    vi.unstubAllGlobals()
    vi.useRealTimers()
  })

  describe('whose worker runs', () => {
    let client: TweedieClient
    beforeAll(async () => void (client = await TweedieClient.load(file, { ...cpu, createWorker: () => worker() })))
    afterAll(() => client.dispose())

    test('load', async () => {
      const createWorker = (): Worker => worker()
      const load: Loads = (what, options) => TweedieClient.load(what, with_(options, { createWorker }))
      const { device: _, gpuDevice: __, ...names } = loadOptions
      expect(await loading(load, [...Object.keys(names), 'createWorker'])).toEqual({})
      expect(await untyped([], (what) => client.load(what, cpu))).toEqual({})
      await client.load(file, cpu)
    })

    test('sample and score', async () => {
      vi.stubGlobal('createImageBitmap', async () => null)
      vi.stubGlobal('ImageBitmap', class {})
      expect(await drawing(client, [...Object.keys(sampleOptions), 'record'])).toEqual({})
      expect(await scoring((...given) => client.score(...given), [...Object.keys(scoreOptions)])).toEqual({})
      expect(await untyped([], (pictures) => client.score(pictures))).toEqual({})
      expect(await untyped([], (picture) => client.score([picture]))).toEqual({})
    })

    test('the names that a message lists are those of the client', async () => {
      await expect(client.sample({ reord: true } as object).next()).rejects.toThrow(
        /^sample: unknown option "reord" \(did you mean "record"\?\); there are (?!.*guidances)/,
      )
      await expect(client.score(values, { reconstruction: true } as object)).rejects.toThrow(/"reconstructions"\?/)
      await expect(client.load(file, { devices: 1 } as object)).rejects.toThrow(/there are (?!.*gpuDevice)/)
      await expect(client.sample({ guidances: () => [] } as object).next()).rejects.toThrow(
        /^TweedieClient: guidances of sample cannot be sent to a worker/,
      )
    })
  })

  test('a worker that says nothing is given up after 30 seconds', async () => {
    vi.useFakeTimers()
    const loaded = TweedieClient.load(file, { ...cpu, createWorker: () => worker('silent') }).catch(
      (error: unknown) => error,
    )
    await vi.advanceTimersByTimeAsync(29_000)
    expect(await Promise.race([loaded, 'waiting'])).toBe('waiting')
    await vi.advanceTimersByTimeAsync(2000)
    expect(await loaded).toMatchObject({
      name: 'TweedieError',
      code: 'worker-unavailable',
      message: expect.stringContaining('has said nothing for 30 s'),
    })
  })

  test('a page that goes and comes back tells its worker, which may have no locks', async () => {
    const events = new EventTarget()
    vi.stubGlobal('addEventListener', events.addEventListener.bind(events))
    const told: string[] = []
    const pipeline = { begin: async () => false, load: async () => ({ value: {} }), page: (e: string) => told.push(e) }
    const client = await TweedieClient.load(file, { createWorker: () => worker(pipeline) })
    for (const event of ['pagehide', 'pageshow']) events.dispatchEvent(new Event(event))
    await expect.poll(() => told).toEqual(['pagehide', 'pageshow'])
    client.dispose()
  })
})
