/**
 * What a run needs on the device: the network, what guides it, perhaps a second stage, LPIPS weights and
 * given noise. Everything that can be said against it is said before the first step, and memory is asked for
 * before a byte is loaded.
 */
import { readMarginal, respace, type Marginal } from '../../diffusion/index.ts'
import type { UNet, UNetConfig } from '../../nn/index.ts'
import { finiteValues } from '../../nn/load.ts'
import type { Device, Tensor } from '../../tensor/index.ts'
import type { LoadedDistance } from '../../tweedie/distance.ts'
import { samplingNeeds, stepNeed, together } from '../../tweedie/need.ts'
import { fail } from '../arguments.ts'
import { computedOn } from '../options/device.ts'
import { distanceNeeds, loadDistance } from '../options/distance.ts'
import { loadWithProgress, openTensors, type ModelFile } from '../files.ts'
import type { LoadedGuidance } from './guidance-files.ts'
import { openGuidances } from './guidances.ts'
import { toOptions, type SampleSettings } from '../options/sample.ts'
import type { Session } from '../session.ts'
import { runFiles } from './run-files.ts'
import { openUpsampler, type Upsampler } from './upsample.ts'
import { tell } from '../print.ts'

/** Noise from a file, on the host. */
export interface NoiseFile {
  /** [N, C, H, W]. */
  readonly shape: readonly number[]
  readonly xT: Float32Array
  readonly draws: number
  /** [draws, N, C, H, W]. */
  readonly noise: Float32Array
}

export interface Setup {
  readonly device: Device
  readonly model: UNet
  readonly guidances: readonly LoadedGuidance[]
  readonly upsampler: Upsampler | null
  readonly distance: LoadedDistance
  readonly noise: { readonly xT: Tensor; readonly noise: Tensor } | null
  readonly marginal: Marginal | null
  /** [C, H, W] of what the model draws. */
  readonly shape: readonly number[]
  /** Of the files read, by option. */
  readonly sha256: Readonly<Record<string, string>>
  /** Of folders, the files that cannot be read as images, by option. */
  readonly leftOut: Readonly<Record<string, readonly string[]>>
  /** From the request of the device to here. */
  readonly seconds: number
  dispose(): void
}

/** Reads --noise. */
export async function readNoise(path: string, channels: number, signal: AbortSignal): Promise<NoiseFile> {
  const file = await openTensors(path, signal)
  try {
    const entry = (key: string) =>
      file.tensors.get(key) ??
      fail(
        `${path}: a tensor "${key}" is needed; there are ${[...file.tensors.keys()].slice(0, 5).join(', ') || 'none'}.`,
      )
    const [xT, noise] = [entry('x_T'), entry('noise')]
    if (xT.shape.length !== 4 || xT.shape[1] !== channels || xT.shape[0] === 0)
      fail(`${path}: x_T must be [N, ${channels}, H, W], found [${xT.shape.join(', ')}].`)
    if (noise.shape.length !== 5 || noise.shape.slice(1).join() !== xT.shape.join())
      fail(`${path}: noise must be [draws, ${xT.shape.join(', ')}], found [${noise.shape.join(', ')}].`)
    const values = async (of: typeof xT): Promise<Float32Array> => {
      const data = await of.read(signal)
      return data instanceof Float32Array
        ? finiteValues(data, `${path}: ${of.name}`)
        : fail(`${path}: noise must be floating-point numbers.`)
    }
    return { shape: xT.shape, xT: await values(xT), draws: noise.shape[0], noise: await values(noise) }
  } finally {
    await file.close()
  }
}

/** Reads --marginal, which is to be of the images [C, H, W] that the model draws. */
async function openMarginal(path: string, shape: readonly number[], signal: AbortSignal): Promise<Marginal> {
  const file = await openTensors(path, signal)
  try {
    const marginal = await readMarginal(file, signal)
    const its = [marginal.channels, marginal.imageSize, marginal.imageSize]
    return its.join() === shape.join()
      ? marginal
      : fail(
          `${path}: the marginal of images [${its.join(', ')}], and the model draws [${shape.join(', ')}]: ` +
            'take the one of its training.',
        )
  } finally {
    await file.close()
  }
}

/** Asks for a device and loads everything. `file` stays the caller's to close. */
export async function setUp(
  settings: SampleSettings,
  file: ModelFile,
  given: NoiseFile | null,
  { signal, requestDevice }: Session,
): Promise<Setup> {
  const config = file.description.config as UNetConfig & { kind: 'unet' }
  const { batch } = settings
  const size = given ? (given.shape.slice(2) as [number, number]) : ([config.imageSize, config.imageSize] as const)
  const shape = [config.inChannels, ...size]
  const files = runFiles(toOptions(settings), signal)
  const held: { dispose(): void }[] = []
  const hold = <T extends { dispose(): void }>(thing: T): T => {
    held.push(thing)
    return thing
  }
  const dispose = (): void => held.reverse().forEach((thing) => thing.dispose())
  try {
    const images = { batch, size, gradient: settings.guide !== null }
    const openedGuidances = await openGuidances(settings, config, images, files, signal)
    const openedUpsampler = settings.upsampler && (await openUpsampler(settings.upsampler, config, images, files))
    const marginal = settings.marginal === null ? null : await openMarginal(settings.marginal, shape, signal)
    const distances = await distanceNeeds(settings, images, signal)
    const needs = samplingNeeds({
      model: config,
      images,
      steps: respace({ ...settings.process, respacing: settings.respacing }).steps,
      distances,
      guidances: openedGuidances.map((guidance) => guidance.needs),
      guide: settings.guide,
    })
    if (openedUpsampler) needs.push(openedUpsampler.need, stepNeed(0, batch, openedUpsampler.shape))
    if (given)
      needs.push({ bytes: given.xT.byteLength + given.noise.byteLength, largestBuffer: given.noise.byteLength })
    const sha256 = await files.sha256()

    const start = performance.now()
    const device = hold(await requestDevice({ need: together(needs), signal }))
    tell(`Computing on ${computedOn(device)}`)
    // The small file first: what is wrong with it shows before the large ones are read.
    const distance = hold(await loadDistance(device, settings, signal))
    const model = hold(await loadWithProgress(device, file, signal)) as UNet
    const guidances: LoadedGuidance[] = []
    for (const guidance of openedGuidances) guidances.push(await guidance.load(device, hold, signal))
    const upsampler = openedUpsampler && (await openedUpsampler.load(device, hold, signal))
    const noise = given && {
      xT: hold(device.tensor(given.xT, given.shape)),
      noise: hold(device.tensor(given.noise, [given.draws, ...given.shape])),
    }
    return {
      device,
      model,
      guidances,
      upsampler,
      distance,
      noise,
      marginal,
      shape,
      sha256,
      leftOut: files.leftOut,
      seconds: (performance.now() - start) / 1000,
      dispose,
    }
  } catch (error) {
    dispose()
    throw error
  } finally {
    await files.close()
  }
}
