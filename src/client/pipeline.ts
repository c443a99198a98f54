/** The worker's side: a model, and the jobs that use it. */
import { releaseProxy, transfer, type Remote } from 'comlink'
import { decodeImage, imageDataOf, imageFrom, type Image } from '../data/index.ts'
import { messageOf, TweedieError } from '../errors.ts'
// Not by #platform: in Node there is nothing to it.
import { startWorkersBy, type WorkerStarter } from '../platform/workers.ts'
import type { BackendStats } from '../tensor/index.ts'
import { Tweedie, type Where } from '../tweedie/index.ts'
import {
  sentError,
  type Answer,
  type ClientInfo,
  type ClientPicture,
  type ClientScores,
  type ClientStep,
  type OnProgress,
  type Pipeline,
  type SentLoadOptions,
  type SentSampleOptions,
  type SentScoreOptions,
} from './messages.ts'

/** What can be stopped. */
interface Job {
  readonly controller: AbortController
  /** Resolves when nothing of it is left. */
  end(): Promise<unknown>
}

/** What {@link Pipeline} says, in a worker that holds one model. */
export class WorkerPipeline implements Pipeline {
  #model: Tweedie | null = null
  readonly #jobs = new Map<number, Job>()
  readonly #drawings = new Map<number, AsyncGenerator<ClientStep, void, void>>()

  async begin(lock: string, threads: WorkerStarter): Promise<boolean> {
    startWorkersBy({
      start: (id, url, name, port) => threads.start(id, url, name, transfer(port, [port])),
      stop: (id) => threads.stop(id),
    })
    // Where there are no locks (a page without https, a browser that stores nothing) nobody hears of this worker's end.
    const { locks } = globalThis.navigator as Partial<Navigator>
    if (!locks) return false
    return await new Promise<boolean>((held) => {
      locks.request(lock, () => (held(true), new Promise(() => {}))).catch(() => held(false))
    })
  }

  load(
    job: number,
    what: 'bccd32' | Where,
    options: SentLoadOptions,
    onProgress: OnProgress | null,
  ): Promise<Answer<ClientInfo>> {
    return this.#run(job, onProgress, async (signal, told) => {
      // Two models may be more than a phone holds.
      this.#replace(null)
      const model = await Tweedie.load(what, { ...options, signal, onProgress: told })
      // Of two that were loaded at once the later one stays.
      this.#replace(model)
      return infoOf(model)
    })
  }

  async sample(job: number, options: SentSampleOptions): Promise<void> {
    const controller = new AbortController()
    const steps = this.#steps(options, controller.signal)
    this.#drawings.set(job, steps)
    this.#jobs.set(job, { controller, end: () => steps.return() })
  }

  async next(job: number): Promise<Answer<ClientStep | null>> {
    const steps = this.#drawings.get(job)
    if (!steps) return { stopped: true }
    const answer = await answerOf(
      this.#jobs.get(job)!.controller.signal,
      async () => (await steps.next()).value ?? null,
    )
    if ('value' in answer && answer.value) return transfer(answer, memoryOf(answer.value))
    this.#forget(job)
    return answer
  }

  score(
    job: number,
    pictures: readonly ClientPicture[] | Float32Array,
    { reconstructions, ...rest }: SentScoreOptions,
    onProgress: OnProgress | null,
  ): Promise<Answer<ClientScores>> {
    return this.#run(job, onProgress, async (signal, told) => {
      const model = this.#loaded('score')
      const images = pictures instanceof Float32Array ? pictures : await Promise.all(pictures.map(imageOf))
      const all = { ...rest, signal, onProgress: told }
      if (!reconstructions) return { scores: await model.score(images, all) }
      const found = await model.reconstruct(images, all)
      return { ...found, reconstructions: await Promise.all(found.reconstructions.map(bitmapOf)) }
    })
  }

  async stop(job: number): Promise<void> {
    const running = this.#jobs.get(job)
    running?.controller.abort()
    await running?.end().catch(() => {})
    this.#forget(job)
  }

  async page(event: 'pagehide' | 'pageshow'): Promise<void> {
    dispatchEvent(new Event(event))
  }

  async stats(): Promise<Answer<BackendStats>> {
    return answerOf(null, async () => ({ ...this.#loaded('stats').device.stats }))
  }

  /** Does `work` as a job, and tells of its progress before its answer. */
  async #run<T>(
    job: number,
    onProgress: OnProgress | null,
    work: (signal: AbortSignal, told: (done: number, total: number) => void) => Promise<T>,
  ): Promise<Answer<T>> {
    const controller = new AbortController()
    let last: unknown
    const answer = answerOf(controller.signal, () =>
      work(controller.signal, (done, total) => {
        last = onProgress?.(done, total)
      }),
    )
    this.#jobs.set(job, { controller, end: () => answer })
    const answered = await answer
    await last
    ;(onProgress as Remote<OnProgress> | null)?.[releaseProxy]()
    this.#forget(job)
    return answered
  }

  async *#steps(
    { record = false, ...options }: SentSampleOptions,
    signal: AbortSignal,
  ): AsyncGenerator<ClientStep, void, void> {
    const model = this.#loaded('sample')
    let shown = 0
    for await (const step of model.sample({ ...options, signal })) {
      const bitmaps = step.images.map((image, k) => (k < shown ? null : bitmapOf(image)))
      const isLast = step.done === step.total
      yield {
        ...step,
        images: await Promise.all(bitmaps),
        ...(record && isLast && { record: await model.record(step, { signal }) }),
      }
      shown = step.finished
    }
  }

  #loaded(user: string): Tweedie {
    if (this.#model) return this.#model
    throw new TweedieError(
      'disposed',
      `${user}: there is no model, for the last load failed or goes on: load one first.`,
    )
  }

  #replace(model: Tweedie | null): void {
    this.#model?.dispose()
    this.#model = model
  }

  #forget(job: number): void {
    this.#jobs.delete(job)
    this.#drawings.delete(job)
  }
}

async function answerOf<T>(signal: AbortSignal | null, work: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await work() }
  } catch (error) {
    return signal?.aborted ? { stopped: true } : { error: sentError(error) }
  }
}

const bitmapOf = (image: Image): Promise<ImageBitmap> => createImageBitmap(imageDataOf(image))

/** What a step is made of that need not be copied. */
const memoryOf = ({ images, pushes = [], values }: ClientStep): Transferable[] => [
  ...images.filter((image) => image !== null),
  ...[...pushes, ...(values ? [values] : [])].map(({ buffer }) => buffer),
]

function infoOf({ device, description: { config }, notes, minorityLevels, batch }: Tweedie): ClientInfo {
  return {
    adapter: { ...device.adapter, backend: device.backend.kind },
    notes,
    minorityLevels,
    batch,
    imageSize: config.imageSize,
    channels: config.inChannels,
    classes: config.numClasses,
  }
}

/** A picture's pixels: of PNG and JPEG the bytes that Node has, of another file what the browser makes of it. */
async function imageOf(picture: ClientPicture): Promise<Image | ImageData> {
  if (picture instanceof Blob) {
    const name = picture instanceof File ? picture.name : 'the image'
    const bytes = await picture.arrayBuffer().catch((cause: unknown) => {
      const why = `reading failed (${messageOf(cause)}): was it changed or removed?`
      throw new TweedieError('format', `${name}: ${why}`, { cause })
    })
    try {
      return decodeImage(bytes, name)
    } catch (error) {
      const bitmap = await createImageBitmap(picture).catch(() => null)
      if (!bitmap) throw error
      return imageOf(bitmap)
    }
  }
  if (!(picture instanceof ImageBitmap)) return picture
  const canvas = new OffscreenCanvas(picture.width, picture.height)
  canvas.getContext('2d')!.drawImage(picture, 0, 0)
  picture.close()
  return imageFrom(canvas)
}
