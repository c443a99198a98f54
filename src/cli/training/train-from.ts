/**
 * `--from`: the weights that a training begins with, of a model that was trained before. Only they are taken over: the
 * optimizer begins anew, and averages begin as copies of them. The file must hold the very network that is trained.
 */
import { featureNetStateDict, type FeatureNetConfig } from '../../nn/feature-net.ts'
import {
  checkStateDict,
  configMetadata,
  describeModel,
  loadParameters,
  planOf,
  stateDictOf,
  type ModelConfig,
  type ModelDescription,
} from '../../nn/index.ts'
import { shapesOf } from '../../nn/state-dict.ts'
import type { Checkpoint } from '../../io/index.node.ts'
import type { Device, Tensor } from '../../tensor/index.ts'
import { differencesOf } from '../../train/state.ts'
import { toldByFile } from '../../tweedie/model-file.ts'
import { fail, type Arguments } from '../arguments.ts'
import { jsonBeside, openWeights, readingWithProgress, sha256OfFile } from '../files.ts'
import type { trainOptions } from '../options/training.ts'
import { tell } from '../print.ts'

export interface FromFile extends AsyncDisposable {
  readonly path: string
  readonly sha256: string
  readonly checkpoint: Checkpoint
  /** What network it says it holds; null where it says nothing, and for a feature net. */
  readonly description: ModelDescription | null
}

/** The file of --from, which the caller closes; null without that option. */
export async function openFrom(
  args: Arguments<Pick<typeof trainOptions, 'from'>>,
  signal: AbortSignal,
): Promise<FromFile | null> {
  const path = args.get('from')
  if (path === undefined) return null
  const checkpoint = await openWeights(path, signal)
  try {
    const { kind, config } = checkpoint.metadata
    if (kind === 'tweedie-training')
      fail(
        `${path}: the state of a training run, with which --resume goes on: --from takes the weights beside it, ` +
          'an ema-RATE.safetensors or model.safetensors.',
      )
    const json = await jsonBeside(path)
    const described = kind !== 'features' && (config !== undefined || json !== undefined)
    const description = described ? describeModel(checkpoint, json === undefined ? {} : toldByFile(json)) : null
    return {
      path,
      checkpoint,
      description,
      sha256: await sha256OfFile(path, signal),
      [Symbol.asyncDispose]: () => checkpoint.close(),
    }
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

/** What may differ: the side of the images, which no weight depends on, and what is for training only. */
const free = ['image_size', 'dropout']

/**
 * @throws TweedieError 'weights' naming the tensors that are not those of the network; 'option' naming settings that no
 *   tensor shows, such as the number of attention heads
 */
export function checkFrom({ path, checkpoint, description }: FromFile, config: ModelConfig): void {
  checkStateDict(stateDictOf(planOf(config)), shapesOf(checkpoint), path)
  if (!description) return
  const words = (of: ModelConfig): Record<string, unknown> =>
    JSON.parse(configMetadata(of).config) as Record<string, unknown>
  const differ = differencesOf(words(description.config), words(config), free)
  if (differ.length > 0) fail(`--from ${path} is of another network: ${differ.join('; ')}.`)
}

/** The parameters of the network, on the device. */
export const parametersFrom = (
  device: Device,
  { path, checkpoint }: FromFile,
  config: ModelConfig,
  signal: AbortSignal,
): Promise<Map<string, Tensor>> =>
  readingWithProgress(`Beginning from ${path}`, checkpoint, (onProgress) =>
    loadParameters(device, checkpoint, stateDictOf(planOf(config)), { signal, onProgress }),
  )

/** Whether a parameter is of a head, which is for training only. */
export const isHead = (key: string): boolean => key.startsWith('heads.')

/** Side of the patches of a vision transformer, whatever stands before its names; null for another network. */
export function patchOf({ checkpoint }: FromFile): number | null {
  const [, entry] = [...checkpoint.tensors].find(([key]) => key.endsWith('patch_embed.proj.weight')) ?? []
  return entry?.shape[3] ?? null
}

/** As {@link checkFrom}, for a feature net. Heads are for training only. */
export function checkFeaturesFrom({ path, checkpoint }: FromFile, config: FeatureNetConfig): void {
  checkStateDict(featureNetStateDict(config), new Map([...shapesOf(checkpoint)].filter(([key]) => !isHead(key))), path)
}

/**
 * Writes a feature net into the parameters of its training: the net, and the heads where the file has them in the same
 * shapes (model.safetensors of a run has, features.safetensors has not).
 */
export async function featuresFrom(
  { path, checkpoint }: FromFile,
  parameters: ReadonlyMap<string, Tensor>,
  signal: AbortSignal,
): Promise<void> {
  const shapes = shapesOf(checkpoint)
  const anew = [...parameters].some(([key, { shape }]) => isHead(key) && shapes.get(key)?.join() !== shape.join())
  if (anew) tell(`note: ${path} has no heads for this training: they begin anew.`)
  for (const [key, tensor] of parameters)
    if (!anew || !isHead(key)) tensor.write((await checkpoint.tensors.get(key)!.read(signal)) as Float32Array)
}
