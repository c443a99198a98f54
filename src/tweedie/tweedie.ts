import type { Image } from '../data/index.ts'
import { asksForAwait } from '../errors.ts'
import type { ModelDescription, UNet } from '../nn/index.ts'
import { refuseUnknown } from '../refuse.ts'
import type { Device } from '../tensor/index.ts'
import { web, type Where } from './files.ts'
import { Life } from './life.ts'
import { load, type Loaded, type TweedieOptions } from './load.ts'
import { noRun, recordOf, type FinishedRun } from './record.ts'
import type { RunRecord } from './run-record.ts'
import type { TweedieSampleOptions } from './sample-settings.ts'
import { sample, type TweedieStep } from './sample.ts'
import { reconstruct, score, type ScoredPictures, type TweedieScoreOptions } from './score.ts'

/**
 * A diffusion model that draws and scores, on a device, with its distance and perhaps a minority classifier.
 *
 * ```ts
 * const model = await Tweedie.load('bccd32')
 * for await (const { images, done, total } of model.sample({ number: 4, steps: 20, method: 'minority-guided' })) {
 *   console.log(`${done} of ${total}`)
 *   if (done === total) images.forEach((image, k) => writeFileSync(`cell-${k}.png`, encodePng(image)))
 * }
 * model.dispose()
 * ```
 */
export class Tweedie {
  readonly #life: Life
  readonly #runs = new WeakMap<TweedieStep, FinishedRun>()

  /** {@link Tweedie.load} makes one. */
  constructor(loaded: Loaded) {
    this.#life = new Life(loaded)
  }

  /**
   * Loads a model: a path (in Node) or URL, a `Blob`, the bytes of a file, or `'bccd32'`, the set of blood cells that
   * comes with the package: diffusion model, minority classifier and feature net. A page is told where it is served:
   *
   * ```ts
   * const onProgress = (done, total) => (bar.value = done / total)
   * const model = await Tweedie.load('bccd32', { weights: '/weights/', onProgress })
   * const distance = { lpips: 'lpips-alex.pt' }
   * const other = await Tweedie.load('64x64_diffusion.pt', { preset: '64x64_diffusion', distance })
   * ```
   *
   * Files are safetensors or PyTorch's. All that can be said against them is said before a device is asked for; what
   * fails, or is aborted, leaves nothing on the device.
   *
   * @throws TweedieError 'option' for a file that is not there or does not say what it is, and for options that do not
   *   fit; 'format' and 'weights' for a file that is broken or of another network; what {@link Device.request} throws
   */
  static load(model: 'bccd32' | Where, options: TweedieOptions = {}): Promise<Tweedie> {
    return asksForAwait(
      load(web, model, options).then((loaded) => new Tweedie(loaded)),
      'Tweedie',
      Tweedie,
    )
  }

  /** What computes. Where it was lost, it is another one after the next step. */
  get device(): Device {
    return this.#life.last.device
  }

  /** The network, for the functions below this layer. It belongs to the model. */
  get unet(): UNet {
    return this.#life.last.model
  }

  /** What the file says of it: configuration, process of its training, published name. */
  get description(): ModelDescription {
    return this.#life.last.description
  }

  /**
   * What was chosen, renamed or left out when the files were opened, a sentence each, with the file's name: the average
   * of several weights, `ema` say, or a prefix such as `module.` before all names. Empty where files were taken as they
   * are.
   */
  get notes(): readonly string[] {
    return this.#life.last.notes
  }

  /** Levels of the minority classifier, of which the last is the rarest; null without one. */
  get minorityLevels(): number | null {
    return this.#life.last.minority?.levels ?? null
  }

  /** Images at a time that memory was asked for. */
  get batch(): number {
    return this.#life.last.batch
  }

  /**
   * Draws. Yields after every step, the pictures so far among it; after the last step they are all there. Sample k is
   * the k-th picture of `tweedie sample` with the same options, byte for byte on the same kernels, in any batch.
   *
   * More than the batch are drawn batch after batch; their pictures are kept, so of tens of thousands the command line,
   * which writes each batch, is the better choice. To leave the loop, or abort it, ends sampling and frees all it took.
   * Two loops may run at once, each with memory of its own.
   *
   * ```ts
   * for await (const { images, done, total } of model.sample({ number: 4, steps: 50, preview: true })) {
   *   images.forEach((image, k) => drawImage(canvases[k], image))
   * }
   * ```
   * @throws TweedieError 'option' for options that do not fit, 'non-finite' for samples that are no numbers (a guidance
   *   that is too strong); `signal.reason` on abort
   */
  sample(options: TweedieSampleOptions = {}): AsyncGenerator<TweedieStep, void, void> {
    return sample(this.#life, options, (last, run) => this.#runs.set(last, run))
  }

  /**
   * The `run.json` of a run, by the last step of its loop: what was asked for with every default, which files drew it,
   * on what, and of each sample its score and the SHA-256 of its PNG. As JSON it is what `tweedie replay` takes, which
   * draws the run again on another machine: on the same adapter, and on CPUs with `simd: 'plain'`, to the same bytes.
   *
   * Nothing is computed for it before it is asked for: then the samples are scored, unless they have been, and the
   * weights are read once more for their hashes, the first time. Files are called by their path (in Node) or name; the
   * shipped ones are found again by `replay`, others it asks for.
   *
   * ```ts
   * for await (const step of model.sample({ number: 4, steps: 20 }))
   *   if (step.done === step.total) save('run.json', JSON.stringify(await model.record(step), null, 2))
   * ```
   * @throws TweedieError 'option' for another step, and for a run with functions of its own (guidances, a distance),
   *   which no file can hold; `signal.reason` on abort
   */
  async record(last: TweedieStep, options: { readonly signal?: AbortSignal } = {}): Promise<RunRecord> {
    this.#life.check('record')
    refuseUnknown('record', options, { signal: true })
    const run = this.#runs.get(last)
    if (!run) throw noRun()
    return recordOf(await this.#life.current('record', options.signal), last, run, options.signal)
  }

  /**
   * Minority scores, one for each picture; higher is rarer (Um et al., ICLR 2024, Eq. 7). Of the same images in the
   * same order they are those of `tweedie score`. Scores by one distance cannot be compared with those by another.
   *
   * ```ts
   * const scores = await model.score([decodeImage(new Uint8Array(await file.arrayBuffer()), file.name)], { draws: 8 })
   * ```
   * @throws TweedieError 'option' for options that do not fit and images that are too small; `signal.reason` on abort
   */
  async score(images: ScoredPictures, options: TweedieScoreOptions = {}): Promise<Float32Array<ArrayBuffer>> {
    return score(this.#life, images, options)
  }

  /**
   * The same scores, and what they are made of: of each picture the estimate of x_0 that the model makes of it once it
   * was noised, by its first draw and of the model's size. The score is the distance between the two: of a common
   * picture the model finds what was there, of a rare one it makes a commoner one (Um et al., ICLR 2024, Figure 1a).
   *
   * ```ts
   * const { scores, reconstructions } = await model.reconstruct(images)
   * reconstructions.forEach((image, k) => drawImage(canvases[k], image))
   * ```
   * @throws what {@link Tweedie.score} throws
   */
  async reconstruct(
    images: ScoredPictures,
    options: TweedieScoreOptions = {},
  ): Promise<{ scores: Float32Array<ArrayBuffer>; reconstructions: Image[] }> {
    return reconstruct(this.#life, images, options)
  }

  /** Frees the weights, and the device unless it is the caller's. Disposing twice does nothing. */
  dispose(): void {
    this.#life.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
