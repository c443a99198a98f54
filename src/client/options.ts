/** What a page may ask for, looked at before anything is sent: a worker's answer to nonsense comes late, or never. */
import { TweedieError, unexpected } from '../errors.ts'
import { refuseUnknown } from '../refuse.ts'
import { loadOptions, sampleOptions, scoreOptions } from '../tweedie/option-names.ts'
import type { ClientSampleOptions, ClientScoreOptions, TweedieClientOptions } from './client.ts'

const { device: _, gpuDevice: __, ...sentToLoad } = loadOptions
const { guidances: ___, ...sentToSample } = sampleOptions

/** @throws TweedieError 'option' */
export function checkLoad(of: string, options: TweedieClientOptions): void {
  refuseUnsent(of, options, ['device', 'gpuDevice'])
  refuseUnknown<TweedieClientOptions>(of, options, { ...sentToLoad, createWorker: true })
  const { createWorker } = options
  if (createWorker !== undefined && typeof createWorker !== 'function')
    throw unexpected(`${of}: createWorker`, 'a function that starts a worker', createWorker)
}

/** @throws TweedieError 'option' */
export function checkSample(options: ClientSampleOptions): void {
  refuseUnsent('sample', options, ['guidances'])
  refuseUnknown<ClientSampleOptions>('sample', options, { ...sentToSample, record: true })
}

/** @throws TweedieError 'option' */
export function checkScore(pictures: unknown, options: ClientScoreOptions): void {
  refuseUnknown<ClientScoreOptions>('score', options, { ...scoreOptions, reconstructions: true })
  if (!(pictures instanceof Float32Array || Array.isArray(pictures)))
    throw unexpected('score', 'a list of pictures (files, bitmaps, image data), or the values of a batch', pictures)
}

/** The error for what only a `Tweedie` of the same scope takes. */
export const notSent = (what: string, cause?: unknown): TweedieError =>
  new TweedieError(
    'option',
    `TweedieClient: ${what} cannot be sent to a worker. Functions (guidances, a distance) and devices cannot; for ` +
      'them use Tweedie in a worker of your own.',
    { cause },
  )

function refuseUnsent(of: string, options: object, names: readonly string[]): void {
  const found = names.find((name) => (options as Readonly<Record<string, unknown>> | null)?.[name] !== undefined)
  if (found !== undefined) throw notSent(`${found} of ${of}`)
}
