import { greyRangeOf, processOf, type Distance, type GreyRange } from '../diffusion/index.ts'
import { TweedieError, unexpected } from '../errors.ts'
import type { ByteSource } from '../io/index.ts'
import {
  preset as presetOf,
  presetNames,
  type Classifier,
  type DiffusionProcess,
  type ModelDescription,
  type Preset,
  type UNet,
  type UNetConfig,
} from '../nn/index.ts'
import { refuseUnknown } from '../refuse.ts'
import { nearestName } from '../suggest.ts'
import type { Device, DeviceRequest } from '../tensor/index.ts'
import { deviceFor } from './device-for.ts'
import { absolute } from './absolute.ts'
import { normIn, openNet, openNorm, type OpenDistance } from './distance.ts'
import { fail } from './fail.ts'
import { isPlace, openWhere, type Files, type Where } from './files.ts'
import { openClasses, type OpenClasses } from './guidance-classes.ts'
import type { Context } from './guidance-files.ts'
import { openMinority, type LoadedMinority, type MinorityFiles, type OpenMinority } from './guidance-minority.ts'
import { samplingNeeds, together } from './need.ts'
import { originOf, type Origin } from './origin.ts'
import { loadOptions } from './option-names.ts'
import { fileOpener, type FileOpener, type FlaggedFile } from './opener.ts'
import { minorityScaleOf, publishedMinority } from './settings.ts'
import { bccd32, shippedHashes } from './shipped.ts'

/** A file that does not say itself what network it holds. */
export interface DescribedFile {
  /** Where it is. */
  readonly file: Where
  /** The published model it is; `presetNames()` lists them. */
  readonly preset?: string
  /** The flags of the script that trained it (a README's `MODEL_FLAGS`, `CLASSIFIER_FLAGS`); see `configOfFlags`. */
  readonly flags?: string | readonly string[]
  /** Which of its state dicts is meant, `'model'` say. Default: the only one, or the average. */
  readonly stateDict?: string
}

/** A minority classifier that its own file does not describe, or that reads another classifier's features. */
export interface MinorityClassifierFile extends DescribedFile {
  /** The frozen ADM classifier whose features it reads. */
  readonly extractor?: Where | DescribedFile
}

/**
 * How far images are apart: the norm `'l2'`, `'l1'`, `'linf'` or any other (`'l1.5'`), LPIPS by its weights, a feature
 * net of our own (`'features'`: the shipped one, of blood cells), or a function of tensors [N, C, H, W] twice to [N].
 * `greyRange` is that of a grey model's images, as the nets see them.
 */
export type DistanceChoice =
  | string
  | { readonly lpips: Where; readonly greyRange?: GreyRange }
  | { readonly features: Where; readonly greyRange?: GreyRange }
  | Distance

/** What `Tweedie.load` takes. */
export interface TweedieOptions
  extends Pick<DeviceRequest, 'backend' | 'threads' | 'workerUrl' | 'simd' | 'gpuDevice'> {
  /** The published model it is, for a file that does not say so itself; `presetNames()` lists them. */
  readonly preset?: string
  /**
   * The flags of the script that trained it, a README's `MODEL_FLAGS`, for a file that does not say so itself;
   * see `configOfFlags`.
   */
  readonly flags?: string | readonly string[]
  /**
   * Which of the state dicts of a file that holds several: its name, `'ema'` or `'model'`, or what stands before its
   * names. Default: the only one, or the average. The command line calls it --weights.
   */
  readonly stateDict?: string
  /**
   * An ADM classifier of noised images, whose gradient leads every sample to its class (Dhariwal & Nichol, NeurIPS
   * 2021). Default: none.
   */
  readonly classifier?: Where | DescribedFile | null
  /** The classifier of minority levels for `method: 'minority-guided'`. Default: that of the set, else none. */
  readonly minorityClassifier?: Where | MinorityClassifierFile | null
  /** For self-guidance and scores. Default: the set's feature net, else `'l2'`. */
  readonly distance?: DistanceChoice
  /** The folder of the shipped files: what a page serves `node_modules/tweedie/weights` as. Node knows it. */
  readonly weights?: string | URL
  /** A device of the caller's, who disposes of it. Default: one is requested, and disposed of with the model. */
  readonly device?: Device
  /**
   * Images at a time, for which memory is asked. Default 8, or the half, a quarter or an eighth of it where the
   * device has no more room.
   */
  readonly batch?: number
  /**
   * Bytes that the model may take with all that it draws on, weights on the way to the device among it. Above it a
   * smaller batch is taken, or the model is refused before its weights are read. Default: 1 GiB on phones and tablets,
   * which kill a page without a word, and on the rest no limit but the device's.
   */
  readonly memoryBudget?: number
  /**
   * Keeps the files of URLs in the browser's store: the next visit downloads nothing, and draws offline. The shipped
   * files are checked by their SHA-256, others by the one that is given for their URL, as in `{ '/faces.safetensors':
   * '2c26b46b…' }`; of the rest the server is asked whether they are still the same. Default false: a page is to say
   * itself what it leaves on a visitor's disk. Where nothing can be kept, as in Node, it changes nothing; without room,
   * loading rejects with 'storage'.
   */
  readonly cache?: boolean | Readonly<Record<string, string>>
  /** Called while files arrive and are read: bytes of all files so far, and in all. */
  readonly onProgress?: (done: number, total: number) => void
  /** Ends loading: it rejects with the signal's reason, and nothing stays on the device. */
  readonly signal?: AbortSignal
}

/** All that a `Tweedie` holds. */
export interface Loaded {
  readonly device: Device
  readonly model: UNet
  readonly description: ModelDescription
  /** The published model it is. */
  readonly preset: Preset | undefined
  /** What was chosen, renamed or left out in its files. */
  readonly notes: readonly string[]
  readonly process: DiffusionProcess
  /** Null without a classifier of classes. */
  readonly classes: (Pick<OpenClasses, 'plan'> & { readonly loaded: Classifier }) | null
  /** Null without a minority classifier. `scale`: the published one, else 1. */
  readonly minority:
    | (Pick<OpenMinority, 'levels' | 'plan'> & { readonly loaded: LoadedMinority; readonly scale: number })
    | null
  /** Of self-guidance and scores. */
  readonly distance: Distance
  /** Images at a time that memory was asked for. */
  readonly batch: number
  /** A number made of all weights: the same where they are. */
  readonly checksum: number
  /** Loads the same once more, for the same batch, on a new device of the kind; null where it is the caller's. */
  readonly again: (() => Promise<Loaded>) | null
  /** For the records of runs. */
  readonly origin: Origin
  /** Frees the weights, and the device unless it is the caller's. */
  dispose(): void
}

/**
 * Opens, loads and holds what `options` say. Files are opened and what can be said against them is said before a device
 * is asked for; memory is asked for before a byte of weights is read; what fails leaves nothing.
 */
export async function load(files: Files, what: Where, options: TweedieOptions = {}): Promise<Loaded> {
  refuseUnknown('Tweedie.load', options, loadOptions)
  checkKinds(options)
  options.signal?.throwIfAborted()
  const { onProgress, signal, cache = false } = options
  const hashes = hashesOf(options)
  const used = new Set<string>()
  const hashOf = (where: Where): string | undefined => {
    if (!isPlace(where)) return undefined
    used.add(absolute(where))
    return hashes.get(absolute(where))
  }
  const opener = fileOpener(files, {
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
    cache: cache !== false,
    hashOf,
  })
  const open = (where: Where, signal: AbortSignal | undefined): Promise<ByteSource> => {
    const sha256 = hashOf(where)
    return openWhere(files, where, { ...(signal && { signal }), ...(cache && { cache: sha256 ? { sha256 } : {} }) })
  }
  const held: { dispose(): void }[] = []
  const hold = <T extends { dispose(): void }>(thing: T): T => {
    held.push(thing)
    return thing
  }
  const dispose = (): void => {
    while (held.length > 0) held.pop()!.dispose()
  }
  try {
    const { file, config, preset, process, classes, minority, net } = await openAll(files, opener, what, options)
    checkUsed(options, used)
    const start = performance.now()
    const { device, batch } = await deviceFor(options, opener.memory(), (count, guided) => {
      const images = { batch: count, size: [config.imageSize, config.imageSize] as const, gradient: guided }
      return together(
        samplingNeeds({
          model: config,
          images,
          distances: net.needs(images),
          guidances: [classes, minority].flatMap((guidance) => (guidance ? [guidance.needs(images)] : [])),
          guide: guided ? { draws: 1, through: 'first' } : null,
        }),
      )
    })
    if (!options.device) hold(device)
    // The small file first: what is wrong with it shows before the large ones are read.
    const { distance } = hold(await net.load(device, opener.reading(net.checkpoint)))
    const model = hold((await opener.load(device, file, options.signal)) as UNet)
    const classifier = classes && (await classes.load(device, hold, options.signal))
    const loaded = minority && (await minority.load(device, hold, options.signal))
    const scale = minorityScaleOf(undefined, publishedMinority(opener.presetOf('minority-classifier'), preset))
    const { onProgress: _, signal: __, ...same } = options
    return {
      device,
      checksum: opener.checksum(),
      again:
        options.device || options.gpuDevice
          ? null
          : () => load(files, what, { ...same, batch, backend: device.backend.kind }),
      model,
      description: file.description,
      preset,
      notes: opener.notes,
      process,
      distance,
      batch,
      origin: originOf(files, { opener, distance: net.options, seconds: (performance.now() - start) / 1000, open }),
      dispose,
      classes: classes && classifier && { plan: classes.plan, loaded: classifier },
      minority: minority && loaded && { plan: minority.plan, levels: minority.levels, loaded, scale },
    }
  } catch (error) {
    dispose()
    throw error
  } finally {
    await opener.close()
  }
}

/** What would fail late, or not at all, were it of another kind. */
function checkKinds({ device, weights, cache = false }: TweedieOptions): void {
  const of = (option: string): string => `Tweedie.load: ${option}`
  if (device !== undefined && (device as Device | null)?.backend?.kind === undefined)
    throw unexpected(of('device'), 'a Device', device, 'Device.request gives one.')
  if (weights !== undefined && !isPlace(weights)) throw unexpected(of('weights'), 'a folder, by path or URL', weights)
  if (typeof cache !== 'boolean' && Object.prototype.toString.call(cache) !== '[object Object]')
    throw unexpected(of('cache'), 'true, false, or SHA-256 by URL', cache)
}

/** Opens every file, and says what does not fit. */
async function openAll(files: Files, opener: FileOpener, what: Where, options: TweedieOptions) {
  const set = what === 'bccd32' ? bccd32 : null
  const shipped = (name: string): Where => shippedFile(name, files, options)
  const distance = options.distance ?? (set ? 'features' : 'l2')
  const levels =
    options.minorityClassifier === undefined ? set && shipped(set.minorityClassifier) : options.minorityClassifier
  opener.begin([
    set ? shipped(set.model) : what,
    ...filesOf(options.classifier),
    ...filesOf(levels),
    ...(distance === 'features' ? [shipped(bccd32.features)] : netOf(distance)),
  ])
  const file = await opener
    .open(
      'model',
      { where: set ? shipped(set.model) : what, flags: options.flags, stateDict: options.stateDict },
      options.preset ?? null,
    )
    .catch((cause: unknown) => (set ? notThere(cause, options) : noFile(cause, what)))
  const {
    name,
    description: { config, diffusion, preset: published },
  } = file
  if (config.kind !== 'unet')
    return fail(
      `${name} is a classifier, which draws nothing: load the U-Net it was made for, and give this ` +
        'one as minorityClassifier.',
    )
  if (config.superResolution)
    return fail(
      `${name} is a super-resolution U-Net, which takes a picture beside the noise: load one that draws by ` +
        'itself (the command line has --upsampler).',
    )
  if (!diffusion)
    return fail(
      `${name} does not say what process it was trained with: say which published model it is, as in { preset: ` +
        "'64x64_diffusion' }, or with which flags it was trained.",
    )
  const process = processOf({ config, diffusion })
  const context = { process, model: config, opener }
  const classes = options.classifier ? await classesIn(options.classifier, context) : null
  const minority = levels === null ? null : await openMinority(minorityFiles(levels), context)
  const net = await openDistance(distance, opener, {
    model: config,
    features: () => shipped(bccd32.features),
  })
  return {
    file,
    config,
    preset: published === undefined ? undefined : presetOf(published),
    process,
    classes,
    minority,
    net,
  }
}

/** The files of a classifier, as far as they are places. */
function filesOf(given: Where | MinorityClassifierFile | null | undefined): Where[] {
  if (typeof given !== 'object' || given === null || !('file' in given)) return given ? [given] : []
  return [given.file, ...filesOf(given.extractor)]
}

const netOf = (distance: DistanceChoice): Where[] =>
  typeof distance !== 'object' ? [] : 'lpips' in distance ? [distance.lpips] : [distance.features]

/** The SHA-256 that files of the web have to have, by their URLs, as far as somebody said it. */
function hashesOf({ cache, weights }: TweedieOptions): ReadonlyMap<string, string> {
  const shipped = weights === undefined ? [] : Object.entries(shippedHashes)
  const told = typeof cache === 'object' ? Object.entries(cache) : []
  return new Map([
    ...shipped.map(([name, sha256]) => [absolute(inFolder(weights!, name)), sha256] as const),
    ...told.map(([url, sha256]) => [absolute(url), sha256] as const),
  ])
}

/** A hash of a file that is not loaded would be a check that nobody makes. */
function checkUsed({ cache }: TweedieOptions, used: ReadonlySet<string>): void {
  const unused = typeof cache === 'object' && Object.keys(cache).find((url) => !used.has(absolute(url)))
  if (typeof unused === 'string')
    fail(
      `cache: expected the URLs of files that are loaded, found "${unused}", which is none of ${[...used].join(', ')}.`,
    )
}

const inFolder = (folder: string | URL, name: string): string => `${String(folder).replace(/\/?$/, '/')}${name}`

function shippedFile(name: string, { shipped }: Files, { weights }: TweedieOptions): Where {
  if (weights !== undefined) return inFolder(weights, name)
  return shipped
    ? new URL(name, shipped)
    : fail(
        "The shipped files lie in the package's folder weights, and a page has to be told where it finds them: " +
          "serve node_modules/tweedie/weights, and say Tweedie.load('bccd32', { weights: '/weights/' }).",
      )
}

const isMissing = (cause: unknown): cause is TweedieError =>
  cause instanceof TweedieError && (cause.cause as { code?: unknown } | undefined)?.code === 'ENOENT'

/** A name is taken for the model; in a page it is a URL, for which a server may send a page of HTML. */
function noFile(cause: unknown, what: Where): never {
  if (typeof what !== 'string' || !/^[\w-]+$/.test(what) || !(cause instanceof TweedieError)) throw cause
  const near = nearestName(what, ['bccd32', ...presetNames()])
  if (near === undefined) throw cause
  const { code, message } = cause
  const hint =
    near === 'bccd32'
      ? `The shipped set is called '${near}'.`
      : `${near} is the name of a published model, and none of them comes with the package: npx tweedie fetch lists ` +
        `what can be had. Give the file, and { preset: '${near}' } where it does not say itself what it is.`
  throw new TweedieError(code, `${message.replace(/\.?$/, '.')} ${hint}`, { cause })
}

/** In a bundle the package's files are no longer where the code is. */
function notThere(cause: unknown, { weights }: TweedieOptions): never {
  if (weights !== undefined || !isMissing(cause)) throw cause
  throw new TweedieError(
    'option',
    `The shipped set is not beside the program (${cause.message}): say where the package's folder weights is, as ` +
      "in Tweedie.load('bccd32', { weights: 'node_modules/tweedie/weights' }).",
    { cause },
  )
}

function classesIn(given: Where | DescribedFile, context: Context<FlaggedFile>): Promise<OpenClasses> {
  const { file, preset = null, flags, stateDict, extractor } = described('classifier', given)
  if (extractor !== undefined)
    fail('classifier: it reads the pixels; one that reads the features of an extractor is a minorityClassifier.')
  return openClasses({ where: file, flags, stateDict }, preset, context)
}

function minorityFiles(given: Where | MinorityClassifierFile): MinorityFiles<FlaggedFile> {
  const { extractor, ...classifier } = described('minorityClassifier', given)
  const frozen = extractor === undefined ? null : described('minorityClassifier.extractor', extractor)
  const published =
    classifier.preset === undefined ? undefined : presetOf(classifier.preset).sampling.minority?.featureExtractor
  return {
    file: { where: classifier.file, flags: classifier.flags, stateDict: classifier.stateDict },
    preset: classifier.preset ?? null,
    extractor: frozen && { where: frozen.file, flags: frozen.flags, stateDict: frozen.stateDict },
    extractorPreset: frozen?.preset ?? (frozen?.flags === undefined ? published : null) ?? null,
  }
}

function described(option: string, given: Where | MinorityClassifierFile): MinorityClassifierFile {
  if (typeof given !== 'object' || given === null || !('file' in given)) return { file: given }
  refuseUnknown<MinorityClassifierFile>(option, given, {
    file: true,
    preset: true,
    flags: true,
    stateDict: true,
    extractor: true,
  })
  return given
}

async function openDistance(
  choice: DistanceChoice,
  opener: FileOpener,
  { model, features }: { readonly model: UNetConfig; readonly features: () => Where },
): Promise<OpenDistance> {
  if (typeof choice === 'function')
    return {
      needs: () => [],
      load: async () => ({ distance: choice, name: 'a distance of the caller', dispose: () => {} }),
      checkpoint: null,
      options: null,
    }
  if (typeof choice === 'string') {
    const norm = normIn(choice)
    if (norm !== undefined) return openNorm(norm)
    if (choice === 'features') return openDistance({ features: features() }, opener, { model, features })
    return fail(
      choice === 'lpips'
        ? 'distance: LPIPS needs its weights, which are third-party and not part of tweedie: { lpips: FILE }.'
        : "distance: expected 'l2', 'l1' or another norm 'lP' with a P of 1 or more ('l1.5', 'linf'), " +
            `'features', { lpips: FILE }, { features: FILE } or a function, found ${JSON.stringify(choice)}.`,
    )
  }
  refuseUnknown<{ lpips?: Where; features?: Where; greyRange?: GreyRange }>('distance', choice, {
    lpips: true,
    features: true,
    greyRange: true,
  })
  const greyRange = greyRangeOf(model, choice.greyRange)
  return 'lpips' in choice
    ? openNet('lpips', await opener.openWeights('lpips', choice.lpips), greyRange)
    : openNet('features', await opener.openWeights('features', choice.features), greyRange)
}
