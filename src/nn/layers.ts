/**
 * The layers of a plan, computed (guided-diffusion unet.py: `ResBlock`, `AttentionBlock`, …). Each takes the parameters
 * by state-dict name, so a layer is a function and a network is a loop over its plan. `h` is [N, C, H, W].
 */
import { TweedieError } from '../errors.ts'
import {
  add,
  attention,
  avgPool2d,
  concat,
  conv2d,
  dropout,
  groupNorm,
  linear,
  mean,
  recompute,
  reshape,
  slice,
  Tensor,
  upsampleNearest,
  type DropoutStream,
} from '../tensor/index.ts'
import type {
  AttentionLayer,
  AttentionPoolLayer,
  ConvLayer,
  Layer,
  LinearLayer,
  NormLayer,
  ResBlockLayer,
} from './plan.ts'

/** Tensors under their state-dict names. */
export type Parameters = ReadonlyMap<string, Tensor>

/**
 * What residual blocks are told of time and class: SiLU of the embedding, [N, 4M], with which each begins its
 * projection; or what the projections made of it, by the blocks' keys.
 */
export type Conditioning = Tensor | ReadonlyMap<string, Tensor>

/** GroupNorm32: always 32 groups. */
const groups = 32

/** The parameter of this name; throws 'weights' where there is none. */
export function parameter(parameters: Parameters, name: string): Tensor {
  const found = parameters.get(name)
  if (!found)
    throw new TweedieError(
      'weights',
      `The network has no parameter ${name}: load the checkpoint through loadModel, which checks its keys.`,
    )
  return found
}

export function runLinear(p: Parameters, { key }: LinearLayer, x: Tensor): Tensor {
  return linear(x, parameter(p, `${key}.weight`), parameter(p, `${key}.bias`))
}

/** `residual`, of the output's shape, is added by the convolution's own kernel. */
export function runConv(
  p: Parameters,
  { key, kernel, stride }: Pick<ConvLayer, 'key' | 'kernel' | 'stride'>,
  x: Tensor,
  residual?: Tensor,
): Tensor {
  return conv2d(x, parameter(p, `${key}.weight`), {
    bias: parameter(p, `${key}.bias`),
    stride,
    padding: (kernel - 1) / 2,
    residual,
  })
}

function runNorm(
  p: Parameters,
  { key }: Pick<NormLayer, 'key'>,
  x: Tensor,
  options: { silu?: boolean; scaleShift?: Tensor } = {},
): Tensor {
  return groupNorm(x, { groups, weight: parameter(p, `${key}.weight`), bias: parameter(p, `${key}.bias`), ...options })
}

/** Norm and SiLU, as in front of every convolution of a residual block and of every head. */
export const runNormSilu = (p: Parameters, layer: Pick<NormLayer, 'key'>, x: Tensor, scaleShift?: Tensor): Tensor =>
  runNorm(p, layer, x, { silu: true, scaleShift })

/** What the block of this key is told of a sample: scale and shift [N, 2C], or a shift [N, C]. */
function told(p: Parameters, key: string, emb: Conditioning): Tensor {
  const projection = `${key}.emb_layers.1`
  return emb instanceof Tensor
    ? linear(emb, parameter(p, `${projection}.weight`), parameter(p, `${projection}.bias`))
    : parameter(emb, key)
}

function resblock(
  p: Parameters,
  layer: ResBlockLayer,
  x: Tensor,
  emb: Conditioning,
  drop: Dropout | undefined,
): Tensor {
  const { key, updown, scaleShift } = layer
  const conv = (name: string, kernel: 1 | 3, input: Tensor, residual?: Tensor): Tensor =>
    runConv(p, { key: `${key}.${name}`, kernel, stride: 1 }, input, residual)
  const resample = (t: Tensor): Tensor =>
    updown === 'up' ? upsampleNearest(t, 2) : updown === 'down' ? avgPool2d(t, { kernel: 2 }) : t
  let h = conv('in_layers.2', 3, resample(runNormSilu(p, { key: `${key}.in_layers.0` }, x)))
  const e = told(p, key, emb)
  const norm = { key: `${key}.out_layers.0` }
  h = scaleShift ? runNormSilu(p, norm, h, e) : runNormSilu(p, norm, add(h, reshape(e, [e.shape[0], e.shape[1], 1, 1])))
  if (drop) h = dropout(h, drop.p, { ...drop, draw: drawOf(key) })
  const skip = layer.inChannels === layer.outChannels ? resample(x) : conv('skip_connection', 1, resample(x))
  return conv('out_layers.3', 3, h, skip)
}

/** Each layer drops by a draw of its own, FNV-1a of its name. */
const drawOf = (key: string): number =>
  [...key].reduce((hash, c) => Math.imul(hash ^ c.charCodeAt(0), 0x01000193) >>> 0, 0x811c9dc5)

/** A Conv1d of width 1, whose weight is [O, C, 1], on a map [N, C, H, W] or a sequence [N, C, T]. */
function conv1d(p: Parameters, key: string, x: Tensor, residual?: Tensor): Tensor {
  const weight = parameter(p, `${key}.weight`)
  const [out, channels] = weight.shape
  const map = reshape(x, [x.shape[0], channels, 1, -1])
  const y = conv2d(map, reshape(weight, [out, channels, 1, 1]), {
    bias: parameter(p, `${key}.bias`),
    residual: residual && reshape(residual, [x.shape[0], out, 1, -1]),
  })
  return reshape(y, [x.shape[0], out, -1])
}

function attentionBlock(p: Parameters, { key, heads, newOrder }: AttentionLayer, x: Tensor): Tensor {
  const qkv = conv1d(p, `${key}.qkv`, runNorm(p, { key: `${key}.norm` }, x))
  return reshape(conv1d(p, `${key}.proj_out`, attention(qkv, { heads, newOrder }), x), x.shape)
}

/** AttentionPool2d without its last layer: [N, C, S, S] to [N, C], the attention of the mean over all positions. */
export function poolByAttention(
  p: Parameters,
  { key, heads, spatial, channels }: AttentionPoolLayer,
  x: Tensor,
): Tensor {
  const n = x.shape[0]
  if (x.shape[2] !== spatial || x.shape[3] !== spatial) {
    throw new TweedieError(
      'shape',
      `The attention pool was trained on maps of ${spatial} x ${spatial}, found ${x.shape[2]} x ${x.shape[3]}: ` +
        "classify images of the classifier's own size.",
    )
  }
  const tokens = reshape(x, [n, channels, spatial * spatial])
  const withMean = concat([mean(tokens, { axes: [2], keepDims: true }), tokens], 2)
  const qkv = conv1d(p, `${key}.qkv_proj`, add(withMean, parameter(p, `${key}.positional_embedding`)))
  return reshape(slice(attention(qkv, { heads, newOrder: true }), 2, 0, 1), [n, channels])
}

/** The last layer of AttentionPool2d: what {@link poolByAttention} left, [N, C], to [N, K]. */
export const runPooled = (p: Parameters, { key }: AttentionPoolLayer, pooled: Tensor): Tensor =>
  reshape(conv1d(p, `${key}.c_proj`, reshape(pooled, [...pooled.shape, 1])), [pooled.shape[0], -1])

function runLayer(p: Parameters, layer: Layer, h: Tensor, emb: Conditioning, drop: Dropout | undefined): Tensor {
  switch (layer.type) {
    case 'conv':
      return runConv(p, layer, h)
    case 'resblock':
      return resblock(p, layer, h, emb, drop)
    case 'attention':
      return attentionBlock(p, layer, h)
    case 'downsample':
      return layer.conv ? runConv(p, { key: `${layer.key}.op`, kernel: 3, stride: 2 }, h) : avgPool2d(h, { kernel: 2 })
    case 'upsample': {
      const up = upsampleNearest(h, 2)
      return layer.conv ? runConv(p, { key: `${layer.key}.conv`, kernel: 3, stride: 1 }, up) : up
    }
  }
}

/** Random numbers for the dropout of a training step: `samples` number its images, u32 [N]. Layers draw apart. */
export interface Dropout extends Omit<DropoutStream, 'draw'> {
  /** Probability of an element to be zeroed. */
  readonly p: number
}

/** How the blocks of a network are computed, in training above all. */
export interface BlockOptions {
  /**
   * Keep only the inputs of residual and attention blocks and compute the rest again in the backward pass: gradient
   * checkpointing, guided-diffusion's `use_checkpoint`. Default: keep what gradients need.
   */
  readonly recompute?: boolean
  /** In training: drops ahead of the last convolution of every residual block, as `ResBlock` does. Default: none. */
  readonly dropout?: Dropout
}

/** The layers of one block in order; what a layer leaves behind is freed before the next begins. */
export function runBlock(
  p: Parameters,
  layers: readonly Layer[],
  input: Tensor,
  emb: Conditioning,
  options: BlockOptions = {},
): Tensor {
  const { device } = input
  return layers.reduce<Tensor>((h, layer) => {
    const out = device.scope(() =>
      options.recompute && emb instanceof Tensor
        ? recompute((x, e) => runLayer(p, layer, x, e, options.dropout), [h, emb])
        : runLayer(p, layer, h, emb, options.dropout),
    )
    if (h !== input) h.dispose()
    return out
  }, input)
}
