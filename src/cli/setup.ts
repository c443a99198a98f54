/**
 * What a run needs on the device: the network, perhaps a classifier, LPIPS weights and given noise. Everything that can
 * be said against it is said before the first step, and memory is asked for before a byte is loaded.
 */
import { l1, l2, perceptual, type Distance } from '../diffusion/index.ts'
import { TweedieError } from '../errors.ts'
import { loadLpips, lpipsMemoryOf, memoryOf, type Classifier, type Lpips, type UNet } from '../nn/index.ts'
import { lpipsNetOf } from '../nn/lpips-plan.ts'
import type { Device, DeviceNeed, Tensor } from '../tensor/index.ts'
import { fail } from './arguments.ts'
import { computedOn } from './device.ts'
import { loadWithProgress, openModel, openWeights, sha256OfFile, type ModelFile } from './files.ts'
import type { DistanceSettings, SampleSettings } from './options.ts'
import type { Session } from './session.ts'

/** Noise from a file, on the host. */
export interface NoiseFile {
  /** [N, C, H, W]. */
  readonly shape: readonly number[]
  readonly xT: Float32Array
  readonly draws: number
  /** [draws, N, C, H, W]. */
  readonly noise: Float32Array
}

export interface LoadedDistance {
  /** For self-guidance, in whose convention grey images are in [0, 1]. */
  readonly distance: Distance
  /** For minority scores, whose images are in [-1, 1] whatever their channels. */
  readonly score: Distance
  /** For people: "LPIPS (alex)". */
  readonly name: string
  dispose(): void
}

export interface Setup {
  readonly device: Device
  readonly model: UNet
  readonly classifier: Classifier | null
  readonly distance: LoadedDistance
  readonly noise: { readonly xT: Tensor; readonly noise: Tensor } | null
  /** [C, H, W] of a sample. */
  readonly shape: readonly number[]
  /** Of the files read, by option. */
  readonly sha256: Readonly<Record<string, string>>
  /** From the request of the device to here. */
  readonly seconds: number
  dispose(): void
}

/** Reads --noise. */
export async function readNoise(path: string, channels: number, signal: AbortSignal): Promise<NoiseFile> {
  const file = await openWeights(path, signal)
  try {
    const entry = (key: string) => file.tensors.get(key) ?? fail(`${path}: a tensor "${key}" is needed; there are ${[...file.tensors.keys()].slice(0, 5).join(', ') || 'none'}.`)
    const [xT, noise] = [entry('x_T'), entry('noise')]
    if (xT.shape.length !== 4 || xT.shape[1] !== channels || xT.shape[0] === 0) fail(`${path}: x_T must be [N, ${channels}, H, W], found [${xT.shape.join(', ')}].`)
    if (noise.shape.length !== 5 || noise.shape.slice(1).join() !== xT.shape.join()) fail(`${path}: noise must be [draws, ${xT.shape.join(', ')}], found [${noise.shape.join(', ')}].`)
    const values = async (read: Promise<ArrayBufferView>): Promise<Float32Array> => {
      const data = await read
      return data instanceof Float32Array ? data : fail(`${path}: noise must be floating-point numbers.`)
    }
    return { shape: xT.shape, xT: await values(xT.read(signal)), draws: noise.shape[0] as number, noise: await values(noise.read(signal)) }
  } finally {
    await file.close()
  }
}

/** What {@link loadDistance} will need: nothing for a norm. Refuses images too small for the net. */
export async function distanceNeeds({ lpips }: DistanceSettings, images: Parameters<typeof lpipsMemoryOf>[1], signal: AbortSignal): Promise<DeviceNeed[]> {
  if (lpips === null) return []
  const file = await openWeights(lpips, signal)
  try {
    return [lpipsMemoryOf(lpipsNetOf(file.tensors.keys(), lpips), images)]
  } finally {
    await file.close()
  }
}

/** Loads LPIPS, or takes a norm. */
export async function loadDistance(device: Device, { distance, lpips }: DistanceSettings, signal: AbortSignal): Promise<LoadedDistance> {
  if (lpips === null) {
    const norm = distance === 'l1' ? l1 : l2
    return { distance: norm, score: norm, name: distance === 'l1' ? 'L1' : 'L2', dispose: () => {} }
  }
  const file = await openWeights(lpips, signal)
  try {
    const net: Lpips = await loadLpips(device, file, { signal })
    const score: Distance = (a, b) => net.distance(a, b)
    return { distance: perceptual(score), score, name: `LPIPS (${net.net})`, dispose: () => net.dispose() }
  } finally {
    await file.close()
  }
}

/** What a step of the sampler holds beside the network: x, noise, estimate, mean, variances, gradients: at most 16 images. */
const stepNeed = (channels: number, { batch, size: [height, width] }: { batch: number; size: readonly [number, number] }): DeviceNeed => {
  const image = 4 * batch * channels * height * width
  return { bytes: 16 * image, largestBuffer: image }
}

export const together = (needs: readonly DeviceNeed[]): DeviceNeed => ({
  bytes: needs.reduce((sum, { bytes }) => sum + bytes, 0),
  largestBuffer: Math.max(...needs.map(({ largestBuffer }) => largestBuffer)),
})

/** Asks for a device and loads everything. `file` stays the caller's to close. */
export async function setUp(settings: SampleSettings, file: ModelFile, given: NoiseFile | null, { signal, requestDevice }: Session): Promise<Setup> {
  const { config } = file.description
  const { batch } = settings
  const size = given ? given.shape.slice(2) as [number, number] : [config.imageSize, config.imageSize] as const
  const classifierFile = settings.classifier && await openModel(settings.classifier.file, settings.classifier.preset ?? undefined, signal)
  const held: { dispose(): void }[] = []
  const hold = <T extends { dispose(): void }>(thing: T): T => {
    held.push(thing)
    return thing
  }
  const dispose = (): void => held.reverse().forEach((thing) => thing.dispose())
  try {
    const images = { batch, size, gradient: settings.guide !== null }
    const needs: DeviceNeed[] = [memoryOf(config, images), ...await distanceNeeds(settings, images, signal), stepNeed(config.inChannels, images)]
    if (given) needs.push({ bytes: given.xT.byteLength + given.noise.byteLength, largestBuffer: given.noise.byteLength })
    if (classifierFile && settings.classifier) {
      checkClassifier(classifierFile, settings, config)
      needs.push(memoryOf(classifierFile.description.config, { batch, size, gradient: true }))
    }
    const sha256: Record<string, string> = { model: await sha256OfFile(settings.model, signal) }
    if (settings.classifier) sha256.classifier = await sha256OfFile(settings.classifier.file, signal)
    if (settings.lpips !== null) sha256.lpips = await sha256OfFile(settings.lpips, signal)
    if (settings.noise !== null) sha256.noise = await sha256OfFile(settings.noise, signal)

    const start = performance.now()
    const device = hold(await requestDevice({ need: together(needs), signal }))
    console.error(`Computing on ${computedOn(device)}`)
    // The small file first: what is wrong with it shows before the large one is read.
    const distance = hold(await loadDistance(device, settings, signal))
    const model = hold(await loadWithProgress(device, file, signal)) as UNet
    const classifier = classifierFile && hold(await loadWithProgress(device, classifierFile, signal)) as Classifier
    const noise = given && { xT: hold(device.tensor(given.xT, given.shape)), noise: hold(device.tensor(given.noise, [given.draws, ...given.shape])) }
    return { device, model, classifier, distance, noise, shape: [config.inChannels, ...size], sha256, seconds: (performance.now() - start) / 1000, dispose }
  } catch (error) {
    dispose()
    throw error
  } finally {
    await classifierFile?.checkpoint.close()
  }
}

function checkClassifier({ path, description: { config } }: ModelFile, { classifier }: SampleSettings, model: { inChannels: number; imageSize: number; numClasses: number | null }): void {
  const wrong = (message: string): never => {
    throw new TweedieError('option', `${path}: ${message}`)
  }
  if (config.kind !== 'classifier') wrong('a U-Net, but --classifier takes a classifier.')
  if (config.inChannels !== model.inChannels) wrong(`takes ${config.inChannels} channels, but the model draws ${model.inChannels}: it reads the features of another network, which the command line does not combine.`)
  if (config.imageSize !== model.imageSize) wrong(`takes ${config.imageSize} x ${config.imageSize} pixels, but the model draws ${model.imageSize} x ${model.imageSize}.`)
  if (config.numClasses !== null && config.numClasses !== model.numClasses) wrong('a class-conditional classifier needs a model with the same classes.')
  const bad = classifier?.target.find((target) => target >= config.outChannels)
  if (bad !== undefined) fail(`--target: the classifier's classes are 0 to ${config.outChannels - 1}, found ${bad}.`)
}
