import { checkAwaited, TweedieError } from '../errors.ts'
import {
  add,
  attention,
  broadcastTo,
  concat,
  gelu,
  groupNorm,
  linear,
  matmul,
  permute,
  reshape,
  slice,
  type Device,
  type Tensor,
} from '../tensor/index.ts'
import { checkTensor } from '../tensor/op.ts'
import { shapeError } from '../tensor/shape.ts'
import { parameter, type Parameters } from './layers.ts'
import { loadParameters, type LoadOptions, type WeightSource } from './load.ts'

/** What a {@link ViT} is built from. */
export interface ViTConfig {
  /** Of the pictures; default 3. */
  readonly inChannels?: number
  /** Length of a token, and of a feature vector. */
  readonly dim: number
  readonly depth: number
  /** Must divide `dim`; every published one has dim / 64. */
  readonly heads: number
  /** Side of a patch in pixels. */
  readonly patch: number
  /** Patches along a side of the pictures it was trained on, for which it has position embeddings. */
  readonly grid: number
}

/** DINO's ViT-S/16 at 224 x 224: 21,665,664 parameters, 384 features. */
export const viTS16: ViTConfig = { dim: 384, depth: 12, heads: 6, patch: 16, grid: 14 }
/** DINO's ViT-B/16 at 224 x 224: 85,798,656 parameters, 768 features. */
export const viTB16: ViTConfig = { dim: 768, depth: 12, heads: 12, patch: 16, grid: 14 }

/** Hidden units of a block's perceptron, in tokens' lengths. */
const expansion = 4

const blockKey = (block: number): string => `blocks.${block}`

/** Name to shape of every tensor, in the order of facebookresearch/dino `vision_transformer.py`. */
export function viTStateDict({ inChannels = 3, dim, depth, patch, grid }: ViTConfig): Map<string, number[]> {
  const weighted = (key: string, shape: number[]): [string, number[]][] => [
    [`${key}.weight`, shape],
    [`${key}.bias`, [shape[0]]],
  ]
  const block = (key: string): [string, number[]][] => [
    ...weighted(`${key}.norm1`, [dim]),
    ...weighted(`${key}.attn.qkv`, [3 * dim, dim]),
    ...weighted(`${key}.attn.proj`, [dim, dim]),
    ...weighted(`${key}.norm2`, [dim]),
    ...weighted(`${key}.mlp.fc1`, [expansion * dim, dim]),
    ...weighted(`${key}.mlp.fc2`, [dim, expansion * dim]),
  ]
  return new Map([
    ['cls_token', [1, 1, dim]],
    ['pos_embed', [1, grid ** 2 + 1, dim]],
    ...weighted('patch_embed.proj', [dim, inChannels, patch, patch]),
    ...Array.from({ length: depth }, (_, i) => block(blockKey(i))).flat(),
    ...weighted('norm', [dim]),
  ])
}

/**
 * The configuration of a file's network, told from its tensors, with a head for every 64 channels as in all that were
 * published; `heads` says it where that is not so.
 *
 * @throws TweedieError 'weights' for a file that holds another network
 */
export function viTConfigOf({ name, tensors }: Pick<WeightSource, 'name' | 'tensors'>, heads?: number): ViTConfig {
  const shapeOf = (key: string, rank: number): readonly number[] => {
    const shape = tensors.get(key)?.shape
    if (shape?.length === rank) return shape
    const found = shape ? `it of shape [${shape.join(', ')}]` : 'none'
    throw new TweedieError('weights', `${name}: expected a vision transformer with a tensor ${key}, found ${found}.`)
  }
  const [dim, inChannels, patch] = shapeOf('patch_embed.proj.weight', 4)
  const [, tokens] = shapeOf('pos_embed', 3)
  let depth = 0
  while (tensors.has(`${blockKey(depth)}.norm1.weight`)) depth++
  return { inChannels, dim, depth, heads: heads ?? dim / 64, patch, grid: Math.round(Math.sqrt(tokens - 1)) }
}

/**
 * The vision transformer of DINO (Caron et al. 2021; facebookresearch/dino `vision_transformer.py`) as a feature space:
 * the class token after the last norm. {@link loadViT} makes one. Differentiable by its input and by every parameter;
 * it owns its parameters.
 */
export class ViT {
  readonly config: ViTConfig
  /** By state-dict name, those of {@link viTStateDict}. */
  readonly parameters: Parameters

  /** @throws TweedieError 'option' where the heads do not divide the tokens */
  constructor(config: ViTConfig, parameters: Parameters) {
    checkAwaited('ViT', { parameters })
    const { dim, heads } = config
    if (!Number.isInteger(heads) || heads < 1 || dim % heads !== 0) {
      throw new TweedieError(
        'option',
        `ViT: expected a number of heads that divides the ${dim} channels, found ${heads}.`,
      )
    }
    this.config = config
    this.parameters = parameters
  }

  /** Length of a feature vector. */
  get dimension(): number {
    return this.config.dim
  }

  /**
   * Features [N, dim] of pictures [N, C, H, W], normalised by ImageNet's mean and deviation, whose sides are multiples
   * of the patch: the class token. For another size than the network was trained on the position embeddings are
   * interpolated.
   *
   * @throws TweedieError 'shape' for what is no batch of such pictures
   */
  features(x: Tensor): Tensor {
    return x.device.scope(() => {
      let tokens = this.embed(x)
      for (let i = 0; i < this.config.depth; i++) {
        const before = tokens
        tokens = this.block(i, before)
        before.dispose()
      }
      const first = reshape(slice(tokens, 1, 0, 1), [x.shape[0], this.config.dim])
      return this.#norm('norm', first)
    })
  }

  /** The tokens [N, 1 + hw, dim] that enter the first block: the class token, then the patches by rows. */
  embed(x: Tensor): Tensor {
    checkTensor('ViT', x)
    const { inChannels = 3, dim, patch } = this.config
    const [n, channels, height, width] = x.shape
    if (x.shape.length !== 4 || channels !== inChannels || height % patch !== 0 || width % patch !== 0) {
      const expected = `pictures [N, ${inChannels}, H, W] with sides that are multiples of ${patch}`
      throw shapeError('ViT', expected, x.shape)
    }
    const [h, w] = [height / patch, width / patch]
    return x.device.scope(() => {
      // A convolution that strides by its own kernel is a matrix product over patches.
      const patches = permute(reshape(x, [n, channels, h, patch, w, patch]), [0, 2, 4, 1, 3, 5])
      const weight = reshape(this.#parameter('patch_embed.proj.weight'), [dim, channels * patch * patch])
      const flat = reshape(patches, [n * h * w, channels * patch * patch])
      const embedded = reshape(linear(flat, weight, this.#parameter('patch_embed.proj.bias')), [n, h * w, dim])
      const first = broadcastTo(this.#parameter('cls_token'), [n, 1, dim])
      return add(concat([first, embedded], 1), this.positions(h, w))
    })
  }

  /**
   * The position embeddings [1, 1 + hw, dim] of `h` by `w` patches: the class token's own, then the grid's, resized
   * bicubically as PyTorch's `interpolate` does at the scale (h + 0.1) / grid that DINO gives it.
   */
  positions(h: number, w: number): Tensor {
    const { grid, dim } = this.config
    const own = this.#parameter('pos_embed')
    if (h === grid && w === grid) return own.device.track(own.alias())
    return own.device.scope(() => {
      const table = reshape(slice(own, 1, 1, grid ** 2 + 1), [grid, grid * dim])
      const rows = reshape(matmul(own.device.tensor(bicubicWeights(grid, h), [h, grid]), table), [h, grid, dim])
      const resized = matmul(own.device.tensor(bicubicWeights(grid, w), [w, grid]), rows)
      return concat([slice(own, 1, 0, 1), reshape(resized, [1, h * w, dim])], 1)
    })
  }

  /**
   * Block number `index` on tokens [N, T, dim]: attention, then a perceptron, each on a norm of the
   * tokens and added to them.
   */
  block(index: number, tokens: Tensor): Tensor {
    const { dim, heads } = this.config
    const [n, count] = tokens.shape
    const key = blockKey(index)
    return tokens.device.scope(() => {
      const flat = reshape(tokens, [n * count, dim])
      const qkv = this.#linear(`${key}.attn.qkv`, this.#norm(`${key}.norm1`, flat))
      // Channels ahead of tokens for the kernel: queries of all heads, then keys, then values.
      const attended = attention(permute(reshape(qkv, [n, count, 3 * dim]), [0, 2, 1]), { heads, newOrder: true })
      const mixed = reshape(permute(attended, [0, 2, 1]), [n * count, dim])
      const h = add(flat, this.#linear(`${key}.attn.proj`, mixed))
      const hidden = gelu(this.#linear(`${key}.mlp.fc1`, this.#norm(`${key}.norm2`, h)))
      return reshape(add(h, this.#linear(`${key}.mlp.fc2`, hidden)), [n, count, dim])
    })
  }

  #parameter(name: string): Tensor {
    return parameter(this.parameters, name)
  }

  #linear(key: string, x: Tensor): Tensor {
    return linear(x, this.#parameter(`${key}.weight`), this.#parameter(`${key}.bias`))
  }

  /** A layer norm is a group norm of one group. */
  #norm(key: string, x: Tensor): Tensor {
    const [weight, bias] = [this.#parameter(`${key}.weight`), this.#parameter(`${key}.bias`)]
    return groupNorm(x, { groups: 1, weight, bias, eps: 1e-6 })
  }

  /** Frees the parameters. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * `to` rows of the weights of `from` values: cubic convolution with A = -0.75, half-pixel centres, borders repeated, no
 * antialiasing, at the scale (to + 0.1) / from. Places are found in float32, as PyTorch finds them.
 */
function bicubicWeights(from: number, to: number): Float32Array {
  const A = -0.75
  const near = (t: number): number => ((A + 2) * t - (A + 3)) * t * t + 1
  const far = (t: number): number => ((A * t - 5 * A) * t + 8 * A) * t - 4 * A
  const step = Math.fround(from / (to + 0.1))
  const weights = new Float32Array(to * from)
  for (let o = 0; o < to; o++) {
    const source = Math.fround(Math.fround(step * (o + 0.5)) - 0.5)
    const first = Math.floor(source)
    const t = source - first
    for (const [k, weight] of [far(t + 1), near(t), near(1 - t), far(2 - t)].entries()) {
      weights[o * from + Math.min(from - 1, Math.max(0, first - 1 + k))] += weight
    }
  }
  return weights
}

/**
 * The backbone of a file: DINO's training checkpoints, opened at their teacher, put `module.` and `backbone.` ahead of
 * its names and have a head beside it.
 */
function backbone({ name, tensors }: WeightSource): WeightSource {
  const plain = (key: string): string => key.replace(/^(module\.)?(backbone\.)?/, '')
  const own = [...tensors].map(([key, entry]) => [plain(key), entry] as const)
  return { name, tensors: new Map(own.filter(([key]) => !/^(heads?|fc)\./.test(key))) }
}

/**
 * Loads a vision transformer, a published backbone or one of a DINO training. The checkpoint stays open.
 *
 * @param config default what the tensors say, by {@link viTConfigOf}
 * @throws TweedieError 'weights' for a file of another network, else as {@link loadParameters}
 */
export async function loadViT(
  device: Device,
  source: WeightSource,
  config?: ViTConfig,
  options: LoadOptions = {},
): Promise<ViT> {
  checkAwaited('loadViT', { device, checkpoint: source })
  const file = backbone(source)
  const built = config ?? viTConfigOf(file)
  return new ViT(built, await loadParameters(device, file, viTStateDict(built), options))
}
