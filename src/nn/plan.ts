/**
 * The layout of ADM, written once (guided-diffusion unet.py). A plan is data: the layers of every block
 * in order, each with its state-dict prefix and its widths. The forward pass walks it, state-dict.ts turns it into
 * names and shapes, memory.ts adds up its activations. No tensor is touched here.
 */
import { checkConfig, headsOf, levelChannels } from './config.ts'
import type { ClassifierConfig, ModelConfig, TrunkConfig, UNetConfig } from './config.ts'

/** 'same' padding (kernel - 1) / 2. Weight [out, in, kernel, kernel]. */
export interface ConvLayer {
  type: 'conv'
  key: string
  inChannels: number
  outChannels: number
  kernel: 1 | 3
  stride: 1 | 2
}

/** `ResBlock`. Keys in_layers.0, in_layers.2, emb_layers.1, out_layers.0, out_layers.3, skip_connection (in != out). */
export interface ResBlockLayer {
  type: 'resblock'
  key: string
  /** In an output block: the concatenation [h, skip]. */
  inChannels: number
  outChannels: number
  updown: 'none' | 'up' | 'down'
  /** 4M. */
  embChannels: number
  /** emb_layers.1 yields 2 * outChannels (scale, then shift) instead of outChannels. */
  scaleShift: boolean
}

/** `AttentionBlock`. Keys norm, qkv (Conv1d, [3C, C, 1]), proj_out (Conv1d). */
export interface AttentionLayer {
  type: 'attention'
  key: string
  channels: number
  heads: number
  /** q, k, v blocks over all heads, or (legacy) q, k, v head by head. */
  newOrder: boolean
}

/** `Downsample`: 3x3 convolution of stride 2 (key suffix `op`), or 2x2 average pool. */
export interface DownsampleLayer {
  type: 'downsample'
  key: string
  channels: number
  conv: boolean
}

/** `Upsample`: nearest x2, then a 3x3 convolution (key suffix `conv`) where `conv`. */
export interface UpsampleLayer {
  type: 'upsample'
  key: string
  channels: number
  conv: boolean
}

/** A layer of a block. */
export type Layer = ConvLayer | ResBlockLayer | AttentionLayer | DownsampleLayer | UpsampleLayer

/** `Linear`. Weight [outFeatures, inFeatures], and a bias. */
export interface LinearLayer {
  type: 'linear'
  key: string
  inFeatures: number
  outFeatures: number
}

/** 32 groups, eps 1e-5. */
export interface NormLayer {
  type: 'norm'
  key: string
  channels: number
}

/** `Embedding`. Weight [count, dim]. */
export interface EmbeddingLayer {
  type: 'embedding'
  key: string
  count: number
  dim: number
}

/** `AttentionPool2d`: always the new attention order. */
export interface AttentionPoolLayer {
  type: 'attention_pool'
  key: string
  /** Side of the square input: the positional embedding has spatial * spatial + 1 columns. */
  spatial: number
  channels: number
  heads: number
  outFeatures: number
}

/** What the U-Net and the classifier share: the embedding of the timestep, the way down, and the middle. */
export interface Trunk {
  /** M: entries of the timestep embedding. */
  modelChannels: number
  /** linear, SiLU, linear. */
  timeEmbed: readonly [LinearLayer, LinearLayer]
  /** Added to the embedding after its MLP; y is needed if and only if this is here. */
  labelEmb: EmbeddingLayer | null
  /** The output of each is pushed on the skip stack (U-Net). */
  inputBlocks: readonly (readonly Layer[])[]
  middleBlock: readonly Layer[]
}

/** The layers of a {@link UNetConfig}. */
export interface UNetPlan extends Trunk {
  kind: 'unet'
  /** Each starts with concat([h, skips.pop()]). */
  outputBlocks: readonly (readonly Layer[])[]
  /** norm, SiLU, conv. */
  out: { norm: NormLayer; conv: ConvLayer }
}

/** From what the way down found to logits, by `pool`. */
export type Head =
  /** norm, SiLU, attention pool. */
  | { pool: 'attention'; norm: NormLayer; attention: AttentionPoolLayer }
  /** norm, SiLU, global average, 1x1 conv. */
  | { pool: 'adaptive'; norm: NormLayer; conv: ConvLayer }
  /** spatial means of every input block and of the middle block, concatenated; linear, ReLU, linear. */
  | { pool: 'spatial'; linear0: LinearLayer; linear1: LinearLayer }
  /** the same features; linear, norm, SiLU, linear. */
  | { pool: 'spatial_v2'; linear0: LinearLayer; norm: NormLayer; linear1: LinearLayer }

/** The layers of a {@link ClassifierConfig}. */
export interface ClassifierPlan extends Trunk {
  kind: 'classifier'
  head: Head
}

/**
 * A network's layers as data, which {@link planOf} lays out. The forward pass walks it, `stateDictOf` turns it
 * into names and shapes, `memoryOf` adds up its activations.
 */
export type Plan = UNetPlan | ClassifierPlan

/**
 * The layers of a network, in order, with their state-dict names and widths; see {@link Plan}. No tensor is touched.
 *
 * @throws TweedieError 'option' where none can be built, as `checkConfig` says
 */
export function planOf(config: ModelConfig): Plan {
  return config.kind === 'unet' ? planUNet(config) : planClassifier(config)
}

/** The layers of a U-Net; see {@link planOf}. */
export function planUNet(config: UNetConfig): UNetPlan {
  checkConfig({ ...config, kind: 'unet' })
  const { trunk, skips } = planTrunk(config, config.inChannels * (config.superResolution ? 2 : 1))
  const widths = levelChannels(config)
  const outputBlocks: Layer[][] = []
  let channels = widths.at(-1)!
  for (let level = widths.length - 1; level >= 0; level--) {
    for (let i = 0; i <= config.numResBlocks; i++) {
      const prefix = `output_blocks.${outputBlocks.length}`
      const block: Layer[] = [resblock(config, `${prefix}.0`, channels + skips.pop()!, widths[level])]
      channels = widths[level]
      if (config.attentionResolutions.includes(2 ** level))
        block.push(attention(config, `${prefix}.1`, channels, config.numHeadsUpsample))
      if (level > 0 && i === config.numResBlocks) {
        const key = `${prefix}.${block.length}`
        block.push(
          config.resblockUpdown
            ? resblock(config, key, channels, channels, 'up')
            : { type: 'upsample', key, channels, conv: config.convResample },
        )
      }
      outputBlocks.push(block)
    }
  }
  return {
    kind: 'unet',
    ...trunk,
    outputBlocks,
    out: { norm: norm('out.0', channels), conv: conv('out.2', channels, config.outChannels, 3) },
  }
}

/** The layers of a classifier; see {@link planOf}. */
export function planClassifier(config: ClassifierConfig): ClassifierPlan {
  checkConfig({ ...config, kind: 'classifier' })
  const { trunk, skips } = planTrunk(config, config.inChannels)
  const channels = levelChannels(config).at(-1)!
  // Every input block's output and the middle block's, side by side.
  const features = skips.reduce((sum, skip) => sum + skip, channels)
  return { kind: 'classifier', ...trunk, head: planHead(config, channels, features) }
}

function planHead(config: ClassifierConfig, channels: number, features: number): Head {
  const outFeatures = config.outChannels
  switch (config.pool) {
    case 'attention': {
      const spatial = Math.floor(config.imageSize / 2 ** (config.channelMult.length - 1))
      const heads = channels / config.numHeadChannels
      return {
        pool: 'attention',
        norm: norm('out.0', channels),
        attention: { type: 'attention_pool', key: 'out.2', spatial, channels, heads, outFeatures },
      }
    }
    case 'adaptive':
      return { pool: 'adaptive', norm: norm('out.0', channels), conv: conv('out.3', channels, outFeatures, 1) }
    case 'spatial':
      return { pool: 'spatial', linear0: linear('out.0', features, 2048), linear1: linear('out.2', 2048, outFeatures) }
    case 'spatial_v2':
      return {
        pool: 'spatial_v2',
        linear0: linear('out.0', features, 2048),
        norm: norm('out.1', 2048),
        linear1: linear('out.3', 2048, outFeatures),
      }
  }
}

/** What U-Net and encoder share, and the widths on the skip stack. */
function planTrunk(config: TrunkConfig, inChannels: number): { trunk: Trunk; skips: number[] } {
  const M = config.modelChannels
  const widths = levelChannels(config)
  let channels = widths[0]
  const inputBlocks: Layer[][] = [[conv('input_blocks.0.0', inChannels, channels, 3)]]
  const skips = [channels]
  widths.forEach((width, level) => {
    for (let i = 0; i < config.numResBlocks; i++) {
      const prefix = `input_blocks.${inputBlocks.length}`
      const block: Layer[] = [resblock(config, `${prefix}.0`, channels, width)]
      channels = width
      if (config.attentionResolutions.includes(2 ** level)) block.push(attention(config, `${prefix}.1`, channels))
      inputBlocks.push(block)
      skips.push(channels)
    }
    if (level === widths.length - 1) return
    const key = `input_blocks.${inputBlocks.length}.0`
    inputBlocks.push([
      config.resblockUpdown
        ? resblock(config, key, channels, channels, 'down')
        : { type: 'downsample', key, channels, conv: config.convResample },
    ])
    skips.push(channels)
  })
  const trunk: Trunk = {
    modelChannels: M,
    timeEmbed: [linear('time_embed.0', M, 4 * M), linear('time_embed.2', 4 * M, 4 * M)],
    labelEmb:
      config.numClasses === null ? null : { type: 'embedding', key: 'label_emb', count: config.numClasses, dim: 4 * M },
    inputBlocks,
    middleBlock: [
      resblock(config, 'middle_block.0', channels, channels),
      attention(config, 'middle_block.1', channels),
      resblock(config, 'middle_block.2', channels, channels),
    ],
  }
  return { trunk, skips }
}

function conv(key: string, inChannels: number, outChannels: number, kernel: 1 | 3): ConvLayer {
  return { type: 'conv', key, inChannels, outChannels, kernel, stride: 1 }
}

function linear(key: string, inFeatures: number, outFeatures: number): LinearLayer {
  return { type: 'linear', key, inFeatures, outFeatures }
}

function norm(key: string, channels: number): NormLayer {
  return { type: 'norm', key, channels }
}

function resblock(
  config: TrunkConfig,
  key: string,
  inChannels: number,
  outChannels: number,
  updown: ResBlockLayer['updown'] = 'none',
): ResBlockLayer {
  const embChannels = 4 * config.modelChannels
  return { type: 'resblock', key, inChannels, outChannels, updown, embChannels, scaleShift: config.useScaleShiftNorm }
}

function attention(config: TrunkConfig, key: string, channels: number, numHeads?: number): AttentionLayer {
  const heads = headsOf(config, channels, numHeads)
  return { type: 'attention', key, channels, heads, newOrder: config.useNewAttentionOrder }
}
