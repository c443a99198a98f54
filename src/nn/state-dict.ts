/**
 * Names and shapes: what a network's state dict must hold, in state-dict order and without a single tensor, and the one
 * error that says how a checkpoint differs from it. Keys and shapes are those of guided-diffusion's unet.py, with the
 * qkv and proj_out weights three-dimensional as Conv1d keeps them.
 */
import { TweedieError } from '../errors.ts'
import { clipped } from '../printable.ts'
import { nearestName } from '../suggest.ts'
import type { AttentionPoolLayer, EmbeddingLayer, Head, Layer, LinearLayer, NormLayer, Plan } from './plan.ts'

type Entries = [key: string, shape: number[]][]
type AnyLayer = Layer | LinearLayer | NormLayer | EmbeddingLayer | AttentionPoolLayer

/** Every tensor of the network: name to shape, in state-dict order. */
export function stateDictOf(plan: Plan): Map<string, number[]> {
  const layers: AnyLayer[] = [
    ...plan.timeEmbed,
    ...(plan.labelEmb ? [plan.labelEmb] : []),
    ...plan.inputBlocks.flat(),
    ...plan.middleBlock,
    ...(plan.kind === 'unet' ? [...plan.outputBlocks.flat(), plan.out.norm, plan.out.conv] : headLayers(plan.head)),
  ]
  return new Map(layers.flatMap(entriesOf))
}

/** The shapes of what a file holds, by name. */
export const shapesOf = ({
  tensors,
}: {
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>
}): Map<string, readonly number[]> => new Map([...tensors].map(([key, { shape }]) => [key, shape]))

/** Numbers in a state dict. */
export function parameterCount(stateDict: ReadonlyMap<string, readonly number[]>): number {
  let count = 0
  for (const shape of stateDict.values()) count += shape.reduce((product, n) => product * n, 1)
  return count
}

function headLayers(head: Head): AnyLayer[] {
  switch (head.pool) {
    case 'attention':
      return [head.norm, head.attention]
    case 'adaptive':
      return [head.norm, head.conv]
    case 'spatial':
      return [head.linear0, head.linear1]
    case 'spatial_v2':
      return [head.linear0, head.norm, head.linear1]
  }
}

function weighted(key: string, shape: number[]): Entries {
  return [
    [`${key}.weight`, shape],
    [`${key}.bias`, [shape[0]]],
  ]
}

function entriesOf(layer: AnyLayer): Entries {
  const { key } = layer
  switch (layer.type) {
    case 'linear':
      return weighted(key, [layer.outFeatures, layer.inFeatures])
    case 'norm':
      return weighted(key, [layer.channels])
    case 'embedding':
      return [[`${key}.weight`, [layer.count, layer.dim]]]
    case 'conv':
      return weighted(key, [layer.outChannels, layer.inChannels, layer.kernel, layer.kernel])
    case 'downsample':
      return layer.conv ? weighted(`${key}.op`, [layer.channels, layer.channels, 3, 3]) : []
    case 'upsample':
      return layer.conv ? weighted(`${key}.conv`, [layer.channels, layer.channels, 3, 3]) : []
    case 'resblock': {
      const { inChannels, outChannels, embChannels, scaleShift } = layer
      return [
        ...weighted(`${key}.in_layers.0`, [inChannels]),
        ...weighted(`${key}.in_layers.2`, [outChannels, inChannels, 3, 3]),
        ...weighted(`${key}.emb_layers.1`, [scaleShift ? 2 * outChannels : outChannels, embChannels]),
        ...weighted(`${key}.out_layers.0`, [outChannels]),
        ...weighted(`${key}.out_layers.3`, [outChannels, outChannels, 3, 3]),
        ...(inChannels === outChannels ? [] : weighted(`${key}.skip_connection`, [outChannels, inChannels, 1, 1])),
      ]
    }
    case 'attention':
      return [
        ...weighted(`${key}.norm`, [layer.channels]),
        ...weighted(`${key}.qkv`, [3 * layer.channels, layer.channels, 1]),
        ...weighted(`${key}.proj_out`, [layer.channels, layer.channels, 1]),
      ]
    case 'attention_pool':
      return [
        [`${key}.positional_embedding`, [layer.channels, layer.spatial ** 2 + 1]],
        ...weighted(`${key}.qkv_proj`, [3 * layer.channels, layer.channels, 1]),
        ...weighted(`${key}.c_proj`, [layer.outFeatures, layer.channels, 1]),
      ]
  }
}

/** Lists longer than this end in a count. */
const LISTED = 4

/**
 * Compares a checkpoint's tensors with what a network needs. The order does not matter.
 * @param name what the message calls the checkpoint, such as its file name
 * @throws TweedieError 'weights': one error that lists missing and unexpected keys, each with the nearest name on the
 *   other side, and keys of another shape
 */
export function checkStateDict(
  expected: ReadonlyMap<string, readonly number[]>,
  found: ReadonlyMap<string, readonly number[]>,
  name: string,
): void {
  const missing = [...expected.keys()].filter((key) => !found.has(key))
  const unexpected = [...found.keys()].filter((key) => !expected.has(key))
  const misshapen = [...expected.keys()].filter(
    (key) => found.has(key) && !sameShape(expected.get(key)!, found.get(key)!),
  )
  if (missing.length + unexpected.length + misshapen.length === 0) return

  // The nearest name is looked for among the keys that did not match either: those are the renamed ones.
  const near = (key: string, others: string[]) => {
    const other = nearestName(key, others)
    return other === undefined ? '' : `, nearest is ${other}`
  }
  const parts = [
    list('missing', missing, (key) => `${key} ${show(expected.get(key)!)}${near(key, unexpected)}`),
    list('unexpected', unexpected, (key) => `${clipped(key)} ${show(found.get(key)!)}${near(key, missing)}`),
    list(
      'of another shape',
      misshapen,
      (key) => `${key} ${show(found.get(key)!)} instead of ${show(expected.get(key)!)}`,
    ),
  ].filter((part) => part !== '')
  const advice =
    missing.length === expected.size
      ? 'not one tensor has a name of this network: is it another model, or does a prefix stand before every name?'
      : 'does the configuration belong to this checkpoint?'
  throw new TweedieError(
    'weights',
    `${name} does not fit the network of ${expected.size} tensors: ` +
      `${parts.join('. ')}. ${advice[0].toUpperCase()}${advice.slice(1)}`,
  )
}

function list(what: string, keys: string[], describe: (key: string) => string): string {
  if (keys.length === 0) return ''
  const more = keys.length > LISTED ? `; and ${keys.length - LISTED} more` : ''
  return `${keys.length} ${what}: ${keys.slice(0, LISTED).map(describe).join('; ')}${more}`
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i])
}

function show(shape: readonly number[]): string {
  return `[${shape.slice(0, 8).join(', ')}${shape.length > 8 ? ', …' : ''}]`
}
