import type { Work } from '../tensor/index.ts'
import type { ModelConfig } from './config.ts'
import { lpipsPlan, lpipsStateDict, lpipsTapSizes, type LpipsNet } from './lpips-plan.ts'
import { planOf } from './plan.ts'
import { maxPairs, pairBytes } from './remembered.ts'
import type { Layer, Plan } from './plan.ts'
import { parameterCount, stateDictOf } from './state-dict.ts'

/** Options of {@link memoryOf}: what is computed. */
export interface MemoryOptions {
  /** Samples at once. Default 1. */
  batch?: number
  /** Room for the gradient by x. Default false. */
  gradient?: boolean
  /** Room for the gradients by x and by every parameter. Default false. */
  parameters?: boolean
  /** Pairs of timestep and class of which {@link UNet.remember} is to keep what blocks are told. Default 0. */
  steps?: number
  /** [height, width] of x. Default: the configuration's imageSize, square. */
  size?: readonly [height: number, width: number]
}

/** Bytes, all in float32. What `Device.request({ need })` asks for. */
export interface Memory {
  /** The sum of all that follows but largestBuffer. */
  bytes: number
  /** The largest single tensor, weights included: a device's maxStorageBufferBindingSize must hold it. */
  largestBuffer: number
  weights: number
  /**
   * Forward: the skip stack and the layer that needs most beside it. With gradient also what the backward pass adds.
   */
  activations: number
  /** What the tape keeps for the gradient by x (0 without `gradient`): the input of every group norm, ... */
  savedNorms: number
  /**
   * ... and of every attention q, k, v, its output and a log-sum-exp a query. No convolution input is kept: the data
   * gradient needs the weights only, ...
   */
  savedAttention: number
  /** ... but for the gradients by parameters (0 without `parameters`) every one is, ... */
  savedConvs: number
  /** ... and each gradient is as large as its parameter. */
  weightGradients: number
  /** What a pass computes: convolutions, attention and linear layers; and about how many kernels it takes. */
  work: Work
  /** Of `steps`. */
  remembered: number
}

/**
 * What the weights and one forward pass take, in bytes; with `gradient` or `parameters` one forward and backward pass.
 * From the layout alone, so that a model can be refused before a byte is loaded. A bound in the sense that nothing is
 * reused inside a block: every intermediate of a layer is counted as alive until the layer ends. What it leaves out:
 * rounding of a backend's pool, small per-channel vectors and norm statistics, and on a GPU the partial sums of
 * convolutions and products and of attention's gradients, 27 MB at most.
 *
 * @throws TweedieError 'option' where no network can be built from the configuration
 * @example
 * memoryOf(preset('64x64_diffusion').config, { gradient: true }).bytes // 1.49e9
 */
export function memoryOf(config: ModelConfig, options: MemoryOptions = {}): Memory {
  const {
    batch = 1,
    steps = 0,
    parameters = false,
    gradient = parameters,
    size = [config.imageSize, config.imageSize],
  } = options
  const plan = planOf(config)
  const stateDict = stateDictOf(plan)
  const { stack, peak, working, norms, attention, convs, largest, flops, kernels } = walk(plan, size[0] * size[1])
  const weights = 4 * parameterCount(stateDict)
  // Backward: each skip's gradient waits for its input block, and a layer's cotangents stand beside its
  // intermediates.
  const backward = gradient || parameters
  const activations = 4 * batch * (backward ? stack + 2 * working : peak)
  const savedNorms = backward ? 4 * batch * norms : 0
  const savedAttention = backward ? 4 * batch * attention : 0
  const savedConvs = parameters ? 4 * batch * convs : 0
  const weightGradients = parameters ? weights : 0
  const remembered = steps <= maxPairs ? steps * pairBytes(plan) : 0
  return {
    bytes: weights + activations + savedNorms + savedAttention + savedConvs + weightGradients + remembered,
    largestBuffer: Math.max(largestOf(stateDict), 4 * batch * largest),
    weights,
    activations,
    savedNorms,
    savedAttention,
    savedConvs,
    weightGradients,
    // Backward: a data gradient for every product, and as much again for the parameters, whose sums are cut and added
    // by a second kernel; attention's is 2.5 times.
    work: {
      flops: batch * flops * (1 + Number(backward) + Number(parameters)),
      kernels: kernels * (1 + 1.5 * Number(backward) + Number(parameters)),
    },
    remembered,
  }
}

/**
 * What LPIPS takes beside a network: its weights, and a bound on the maps of one distance. Forward, both images' maps
 * before and after a layer and their ReLUs; with `gradient` (by the images) every map of both is kept, and cotangents
 * stand beside the layer's own.
 * @throws TweedieError 'shape' for images too small for the net
 */
export function lpipsMemoryOf(
  net: LpipsNet,
  {
    batch = 1,
    gradient = false,
    size,
  }: Pick<MemoryOptions, 'batch' | 'gradient'> & Required<Pick<MemoryOptions, 'size'>>,
): Pick<Memory, 'bytes' | 'largestBuffer' | 'weights'> {
  const sizes = lpipsTapSizes(net, size[0], size[1])
  const stateDict = lpipsStateDict(net)
  let map = 3 * size[0] * size[1] // elements of the map at hand, an image's
  let channels = 3
  const result = { kept: map, working: 0, largest: map }
  lpipsPlan(net).slices.forEach((slice, k) => {
    // A slice's first layer alone changes the size.
    const area = sizes[k][0] * sizes[k][1]
    for (const layer of slice) {
      const inside = layer.type === 'fire' ? (2 * layer.squeeze + layer.expand1x1 + layer.expand3x3) * area : 0
      if (layer.type === 'conv') channels = layer.outChannels
      if (layer.type === 'fire') channels = layer.expand1x1 + layer.expand3x3
      const output = channels * area
      result.working = Math.max(result.working, 2 * map + inside + output)
      result.kept += inside + output
      result.largest = Math.max(result.largest, output)
      map = output
    }
    // The tail: the weighted difference and, a channel each, energies and their sums.
    result.working = Math.max(result.working, 2 * map + 2 * area)
  })
  const maps = 2 * (gradient ? result.kept + 2 * result.working : result.working)
  const weights = 4 * parameterCount(stateDict)
  return {
    weights,
    bytes: weights + 4 * batch * maps,
    largestBuffer: Math.max(largestOf(stateDict), 4 * batch * result.largest),
  }
}

/** Bytes of the largest tensor. */
function largestOf(stateDict: ReadonlyMap<string, readonly number[]>): number {
  return Math.max(...[...stateDict.values()].map((shape) => 4 * product(shape)))
}

/** Elements a sample. */
interface Footprint {
  /** Everything that is alive during the layer, its input included. */
  working: number
  /** What the tape keeps: group norm inputs, and attention's tensors; for parameters also convolution inputs. */
  norms: number
  attention: number
  convs: number
  largest: number
  flops: number
  kernels: number
}

/** `area`: height times width of the layer's input, `outArea` of its output. */
function footprint(layer: Layer, area: number): Footprint & { outArea: number } {
  const none = { norms: 0, attention: 0, convs: 0 }
  switch (layer.type) {
    case 'conv': {
      const [x, y] = [layer.inChannels * area, layer.outChannels * area]
      const flops = 2 * x * layer.outChannels * layer.kernel ** 2
      return { ...none, working: x + y, convs: x, largest: Math.max(x, y), flops, kernels: 1, outArea: area }
    }
    case 'downsample': {
      const x = layer.channels * area
      const flops = layer.conv ? (18 * x * layer.channels) / 4 : 0
      return {
        ...none,
        working: x + x / 4,
        convs: layer.conv ? x : 0,
        largest: x,
        flops,
        kernels: 1,
        outArea: area / 4,
      }
    }
    case 'upsample': {
      const x = layer.channels * area
      const convs = layer.conv ? 4 * x : 0
      const flops = 18 * convs * layer.channels
      const kernels = layer.conv ? 2 : 1
      return { ...none, working: x + 4 * x + convs, convs, largest: 4 * x, flops, kernels, outArea: 4 * area }
    }
    case 'attention': {
      const x = layer.channels * area
      // x, norm, qkv (3), attention, projection, sum; the projection's input is kept already
      return {
        working: 8 * x,
        norms: x,
        attention: 4 * x + layer.heads * area,
        convs: x,
        largest: 3 * x,
        // qkv and the projection; scores and their values. Norm (3), qkv, attention, projection.
        flops: 8 * x * layer.channels + 4 * x * area,
        kernels: 6,
        outArea: area,
      }
    }
    case 'resblock': {
      const outArea = layer.updown === 'up' ? 4 * area : layer.updown === 'down' ? area / 4 : area
      const x = layer.inChannels * area
      const resampled = layer.inChannels * outArea
      const y = layer.outChannels * outArea
      const skip = layer.inChannels === layer.outChannels ? 0 : y
      // x, norm; both paths resampled; conv, norm, conv, sum, and the 1x1 skip connection
      const working = 2 * x + (layer.updown === 'none' ? 0 : 2 * resampled) + 4 * y + skip
      const convs = resampled + y + (skip > 0 ? resampled : 0)
      const embedded = layer.scaleShift ? 2 * layer.outChannels : layer.outChannels
      const flops =
        18 * (resampled + y) * layer.outChannels + 2 * skip * layer.inChannels + 2 * layer.embChannels * embedded
      // Two norms (3 each), two convolutions, the embedding (2); both paths resampled; the skip connection.
      const kernels = 10 + (layer.updown === 'none' ? 0 : 2) + (skip > 0 ? 1 : 0)
      return {
        working,
        norms: x + y,
        attention: 0,
        convs,
        largest: Math.max(x, resampled, y),
        flops,
        kernels,
        outArea,
      }
    }
  }
}

function walk(plan: Plan, imageArea: number) {
  let area = imageArea
  let held = 0 // on the skip stack
  const skips: number[] = []
  const result = { stack: 0, peak: 0, working: 0, norms: 0, attention: 0, convs: 0, largest: 0, flops: 0, kernels: 0 }
  const visit = ({ working, norms, attention, convs, largest, flops, kernels }: Footprint) => {
    result.flops += flops
    result.kernels += kernels
    result.working = Math.max(result.working, working)
    result.peak = Math.max(result.peak, held + working)
    result.norms += norms
    result.attention += attention
    result.convs += convs
    result.largest = Math.max(result.largest, largest)
  }
  const run = (block: readonly Layer[]) => {
    for (const layer of block) {
      const layerFootprint = footprint(layer, area)
      visit(layerFootprint)
      area = layerFootprint.outArea
    }
    return channelsAfter(block) * area
  }
  const unet = plan.kind === 'unet'
  for (const block of plan.inputBlocks) {
    const output = run(block)
    if (!unet) continue
    skips.push(output)
    held += output
  }
  result.stack = held
  let h = run(plan.middleBlock)
  if (unet) {
    for (const block of plan.outputBlocks) {
      const skip = skips.pop()!
      // h and [h, skip]; the skip itself is still counted as held
      visit({ working: h + (h + skip), norms: 0, attention: 0, convs: 0, largest: h + skip, flops: 0, kernels: 2 })
      held -= skip
      h = run(block)
    }
    const { norm, conv } = plan.out
    const y = conv.outChannels * area
    const x = norm.channels * area
    const flops = 18 * x * conv.outChannels
    visit({ working: 2 * x + y, norms: x, attention: 0, convs: x, largest: Math.max(x, y), flops, kernels: 4 })
  } else if (plan.head.pool === 'attention') {
    const { channels, heads } = plan.head.attention
    const tokens = channels * (area + 1)
    // x, norm; tokens before and after the embedding, the embedding, qkv (3), attention
    visit({
      working: 2 * h + 7 * tokens,
      norms: h,
      attention: 4 * tokens + heads * (area + 1),
      convs: tokens,
      largest: 3 * tokens,
      flops: 8 * tokens * channels,
      kernels: 10,
    })
  } else {
    const norms = plan.head.pool === 'adaptive' ? h : plan.head.pool === 'spatial_v2' ? 2048 : 0
    visit({ working: 2 * h, norms, attention: 0, convs: 0, largest: h, flops: 0, kernels: 6 })
  }
  return result
}

function channelsAfter(block: readonly Layer[]): number {
  const last = block.at(-1)!
  return last.type === 'conv' || last.type === 'resblock' ? last.outChannels : last.channels
}

function product(shape: readonly number[]): number {
  return shape.reduce((n, m) => n * m, 1)
}
