/**
 * How much memory a network takes, from its layout alone, so that a model can be refused before a byte is loaded. A
 * bound in the sense that nothing is reused inside a block: every intermediate of a layer is counted as alive until the
 * layer ends. What it leaves out: a backend's repacked copies of the weights, rounding of its pool, small per-channel
 * vectors and norm statistics.
 */
import type { ModelConfig } from './config.ts'
import { planOf } from './plan.ts'
import type { Layer, Plan } from './plan.ts'
import { parameterCount, stateDictOf } from './state-dict.ts'

export interface MemoryOptions {
  /** Samples at once. Default 1. */
  batch?: number
  /** Room for the gradient by x. Default false. */
  gradient?: boolean
}

/** Bytes, all in float32. What `Device.request({ need })` asks for. */
export interface Memory {
  /** weights + activations + savedNorms + savedAttention. */
  bytes: number
  /** The largest single tensor, weights included: a device's maxStorageBufferBindingSize must hold it. */
  largestBuffer: number
  weights: number
  /** Forward: the skip stack and the layer that needs most beside it. With gradient also what the backward pass adds. */
  activations: number
  /** What the tape keeps for the gradient by x (0 without `gradient`): the input of every group norm, ... */
  savedNorms: number
  /**
   * ... and of every attention q, k, v, its output and a log-sum-exp a query. No convolution input is kept: the data
   * gradient needs the weights only.
   */
  savedAttention: number
}

/**
 * What the weights and one forward pass take, with `gradient` one forward and backward pass.
 * @throws TweedieError 'option' where no network can be built from the configuration
 * @example memoryOf(preset('64x64_diffusion').config, { gradient: true }).bytes // 1.49e9
 */
export function memoryOf(config: ModelConfig, options: MemoryOptions = {}): Memory {
  const { batch = 1, gradient = false } = options
  const plan = planOf(config)
  const stateDict = stateDictOf(plan)
  const { stack, peak, working, norms, attention, largest } = walk(plan, config)
  const weights = 4 * parameterCount(stateDict)
  const largestWeight = Math.max(...[...stateDict.values()].map(shape => 4 * product(shape)))
  // Backward: each skip's gradient waits for its input block, and a layer's cotangents stand beside its
  // intermediates.
  const activations = 4 * batch * (gradient ? stack + 2 * working : peak)
  const savedNorms = gradient ? 4 * batch * norms : 0
  const savedAttention = gradient ? 4 * batch * attention : 0
  return {
    bytes: weights + activations + savedNorms + savedAttention,
    largestBuffer: Math.max(largestWeight, 4 * batch * largest),
    weights,
    activations,
    savedNorms,
    savedAttention,
  }
}

/** Elements a sample. */
interface Footprint {
  /** Everything that is alive during the layer, its input included. */
  working: number
  /** What the tape keeps: group norm inputs, and attention's tensors. */
  norms: number
  attention: number
  largest: number
  /** Side of the output. */
  side: number
}

function footprint(layer: Layer, side: number): Footprint {
  const area = side * side
  switch (layer.type) {
    case 'conv': {
      const [x, y] = [layer.inChannels * area, layer.outChannels * area]
      return { working: x + y, norms: 0, attention: 0, largest: Math.max(x, y), side }
    }
    case 'downsample': {
      const x = layer.channels * area
      return { working: x + x / 4, norms: 0, attention: 0, largest: x, side: side / 2 }
    }
    case 'upsample': {
      const x = layer.channels * area
      return { working: x + 4 * x + (layer.conv ? 4 * x : 0), norms: 0, attention: 0, largest: 4 * x, side: side * 2 }
    }
    case 'attention': {
      const x = layer.channels * area
      // x, norm, qkv (3), attention, projection, sum
      return { working: 8 * x, norms: x, attention: 4 * x + layer.heads * area, largest: 3 * x, side }
    }
    case 'resblock': {
      const outSide = layer.updown === 'up' ? side * 2 : layer.updown === 'down' ? side / 2 : side
      const x = layer.inChannels * area
      const resampled = layer.inChannels * outSide * outSide
      const y = layer.outChannels * outSide * outSide
      const skip = layer.inChannels === layer.outChannels ? 0 : y
      // x, norm; both paths resampled; conv, norm, conv, sum, and the 1x1 skip connection
      const working = 2 * x + (layer.updown === 'none' ? 0 : 2 * resampled) + 4 * y + skip
      return { working, norms: x + y, attention: 0, largest: Math.max(x, resampled, y), side: outSide }
    }
  }
}

function walk(plan: Plan, config: ModelConfig) {
  let side = config.imageSize
  let held = 0 // on the skip stack
  const skips: number[] = []
  const result = { stack: 0, peak: 0, working: 0, norms: 0, attention: 0, largest: 0 }
  const visit = ({ working, norms, attention, largest }: Omit<Footprint, 'side'>) => {
    result.working = Math.max(result.working, working)
    result.peak = Math.max(result.peak, held + working)
    result.norms += norms
    result.attention += attention
    result.largest = Math.max(result.largest, largest)
  }
  const run = (block: readonly Layer[]) => {
    for (const layer of block) {
      const layerFootprint = footprint(layer, side)
      visit(layerFootprint)
      side = layerFootprint.side
    }
    return channelsAfter(block) * side * side
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
      visit({ working: h + (h + skip), norms: 0, attention: 0, largest: h + skip })
      held -= skip
      h = run(block)
    }
    const { norm, conv } = plan.out
    const y = conv.outChannels * side * side
    const x = norm.channels * side * side
    visit({ working: 2 * x + y, norms: x, attention: 0, largest: Math.max(x, y) })
  } else if (plan.head.pool === 'attention') {
    const { channels, heads } = plan.head.attention
    const tokens = channels * (side * side + 1)
    // x, norm; tokens before and after the embedding, the embedding, qkv (3), attention
    visit({
      working: 2 * h + 7 * tokens, norms: h, attention: 4 * tokens + heads * (side * side + 1), largest: 3 * tokens,
    })
  } else {
    const norms = plan.head.pool === 'adaptive' ? h : plan.head.pool === 'spatial_v2' ? 2048 : 0
    visit({ working: 2 * h, norms, attention: 0, largest: h })
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
