/**
 * Batch normalisation of a finished network is a scale and a shift for every channel, so a convolution ahead of it can
 * do both: its weights are multiplied by the scale, and the shift is its bias. This happens once, while the weights are
 * read, in double precision; the network that runs has convolutions with a bias and no normalisation.
 */
import type { Device, Shape, Tensor } from '../tensor/index.ts'
import { checkWeights, loadParameters, type LoadOptions, type WeightEntry, type WeightSource } from './load.ts'
import { checkStateDict, shapesOf } from './state-dict.ts'

/** Which batch norm follows which convolution: key of the norm by key of the convolution, both without `.weight`. */
export type NormPairs = ReadonlyMap<string, string>

const normTensors = ['weight', 'bias', 'running_mean', 'running_var'] as const

/** The state-dict entries of a batch norm: weight, bias, running mean and running variance, each [channels]. */
export const batchNormEntries = (key: string, channels: number): [string, number[]][] =>
  normTensors.map((name) => [`${key}.${name}`, [channels]])

/** A file's tensors but PyTorch's `num_batches_tracked`, how often a norm was trained: nothing computes with it. */
export const withoutCounters = <T>(tensors: ReadonlyMap<string, T>): Map<string, T> =>
  new Map([...tensors].filter(([key]) => !key.endsWith('.num_batches_tracked')))

/** What is left of a state dict when its batch norms are folded: no norms, and a bias [Cout] for every convolution. */
export function foldedStateDict(stateDict: ReadonlyMap<string, Shape>, pairs: NormPairs): Map<string, Shape> {
  const norms = new Set([...pairs.values()].flatMap((norm) => normTensors.map((name) => `${norm}.${name}`)))
  const folded = new Map<string, Shape>()
  for (const [key, shape] of stateDict) {
    if (norms.has(key)) continue
    folded.set(key, shape)
    const conv = key.replace(/\.weight$/, '')
    if (pairs.has(conv)) folded.set(`${conv}.bias`, [shape[0]])
  }
  return folded
}

/**
 * {@link loadParameters} for a network with batch norms after convolutions without bias. `stateDict` is the file's,
 * norms and all (PyTorch's counters `num_batches_tracked` may be there or not); what comes back has the names of
 * {@link foldedStateDict}:
 *
 *   W' = W s,   b' = bias - mean s,   s = weight / sqrt(variance + epsilon)   by channel of the output
 *
 * (Ioffe and Szegedy 2015, Algorithm 2, line 11.) `epsilon` is the network's own: 1e-5 where PyTorch's
 * default was kept, 1e-3 in Inception.
 *
 * @throws TweedieError as {@link loadParameters}, naming the tensors of the file
 */
export async function loadFolded(
  device: Device,
  source: WeightSource,
  stateDict: ReadonlyMap<string, Shape>,
  pairs: NormPairs,
  epsilon: number,
  options: LoadOptions = {},
): Promise<Map<string, Tensor>> {
  const whole: WeightSource = { name: source.name, tensors: withoutCounters(source.tensors) }
  checkStateDict(stateDict, shapesOf(whole), source.name)
  const tensors = new Map(whole.tensors)
  for (const [conv, norm] of pairs) {
    const { weight, bias } = foldedEntries(whole, conv, norm, epsilon)
    tensors.set(`${conv}.weight`, weight)
    tensors.set(`${conv}.bias`, bias)
    for (const name of normTensors) tensors.delete(`${norm}.${name}`)
  }
  return loadParameters(device, { name: source.name, tensors }, foldedStateDict(stateDict, pairs), options)
}

/** Entries that read a convolution and its norm, and give the folded weight and bias. */
function foldedEntries(
  { name, tensors }: WeightSource,
  conv: string,
  norm: string,
  epsilon: number,
): { weight: WeightEntry; bias: WeightEntry } {
  const entry = (key: string): WeightEntry => tensors.get(key)!
  const read = async (key: string, signal?: AbortSignal): Promise<Float32Array> =>
    checkWeights(await entry(key).read(signal), `${name}: ${key}`)
  const scales = async (signal?: AbortSignal): Promise<Float64Array> => {
    const [weight, variance] = [await read(`${norm}.weight`, signal), await read(`${norm}.running_var`, signal)]
    return Float64Array.from(weight, (w, c) => w / Math.sqrt(variance[c] + epsilon))
  }
  const { shape, byteLength } = entry(`${conv}.weight`)
  const channels = shape[0]
  return {
    weight: {
      shape,
      byteLength,
      read: async (signal) => {
        const [values, s] = [await read(`${conv}.weight`, signal), await scales(signal)]
        const each = values.length / channels
        const folded = new Float32Array(values.length)
        for (let c = 0, at = 0; c < channels; c++) {
          for (const end = at + each; at < end; at++) folded[at] = values[at] * s[c]
        }
        return folded
      },
    },
    bias: {
      shape: [channels],
      byteLength: normTensors.reduce((sum, tensor) => sum + entry(`${norm}.${tensor}`).byteLength, 0),
      read: async (signal) => {
        const [bias, mean] = [await read(`${norm}.bias`, signal), await read(`${norm}.running_mean`, signal)]
        const s = await scales(signal)
        return Float32Array.from(bias, (b, c) => b - mean[c] * s[c])
      },
    },
  }
}
