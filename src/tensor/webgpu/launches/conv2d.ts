/**
 * Convolution and its gradients. Several kernels compute the same thing; which is fastest depends on the adapter and
 * the shape, so the launch lists the candidates and {@link Encoder.choose} answers with the one that measurement found,
 * or with the rule of thumb below while nothing has been measured.
 */
import {
  conv2dDataGradient,
  conv2dDataGradientGrid,
  type Conv2dDataGradientKeys,
} from '../../../shaders/conv2d-data-gradient.ts'
import { conv2dRegister, conv2dRegisterGrid, type Conv2dRegisterKeys } from '../../../shaders/conv2d-register.ts'
import { convWords, dataGradientShape, type ConvShape } from '../../../shaders/conv2d-shape.ts'
import {
  conv2dSumSplits,
  conv2dSumSplitsGrid,
  conv2dSumSplitsUniform,
  type Epilogue,
} from '../../../shaders/conv2d-sum-splits.ts'
import { conv2dTile, conv2dTileGrid, type Conv2dTileKeys } from '../../../shaders/conv2d-tile.ts'
import {
  conv2dWeightGradient,
  conv2dWeightGradientGrid,
  conv2dWeightGradientSplits,
  conv2dWeightGradientWords,
} from '../../../shaders/conv2d-weight-gradient.ts'
import { convFlops, convShape } from '../../conv-shape.ts'
import type { ConvForwardParams, ConvGradParams } from '../../ops/conv2d.ts'
import type { Buffer, Capabilities, Encoder, Launch } from '../launch.ts'

/** The batch is part of it: how many workgroups there are decides which tile fills the adapter, so each is measured. */
const shapeKey = (s: ConvShape): string =>
  `${s.cin}>${s.cout} ${s.kh}x${s.kw}/${s.stride} ${s.ho}x${s.wo}x${s.n}${s.transposed ? ' T' : ''}`

interface Variant {
  readonly key: string
  readonly code: () => string
  readonly grid: readonly [number, number, number]
  readonly uniforms: readonly number[]
  /** Sums over a part of the input channels that the kernel leaves to be added; 1: y is what it writes. */
  readonly splits: number
}

/** What can compute a convolution, by name, and the name of what does while nothing has been measured. */
interface Candidates {
  readonly found: ReadonlyMap<string, () => Variant>
  readonly usual: string
}

/**
 * Workgroups below which a GPU is taken to be empty: one for each of the 132 multiprocessors of an H100. A cut that
 * fills it has fewer than twice as many, whose partial sums are 4.3 MB at most (nn/memory.ts says so).
 */
const fullGrid = 132
/** A split sums at least so many terms, three steps of a tile: fewer cost no more than adding up what is cut. */
const leastTerms = 48

/** The kernels that can compute `s` on this device. */
function candidates(s: ConvShape, epilogue: Epilogue, { subgroupSize, software }: Capabilities): Candidates {
  const found = new Map<string, () => Variant>()
  const register = (name: string, subgroup: number, px: number, co: number): string => {
    const kw = s.kh === 1 && s.kw === 1 ? 1 : s.kw === 3 && s.stride === 1 ? 3 : 0
    const keys: Conv2dRegisterKeys = { subgroup, px, co, kw, ...epilogue }
    found.set(name, () => ({
      key: `conv2d-register ${JSON.stringify(keys)}`,
      code: () => conv2dRegister(keys),
      grid: conv2dRegisterGrid(s, keys),
      uniforms: convWords(s),
      splits: 1,
    }))
    return name
  }
  /**
   * The kernel whole and, until it has four times as many workgroups as fill a GPU, cut over the input channels; gives
   * the name of the smallest cut that fills one. A software adapter has a few cores, which any grid fills.
   */
  const cut = (name: string, workgroups: number, make: (splits: number) => Variant): string => {
    found.set(name, () => make(1))
    let usual = name
    // Of a 1×1, whose terms are channels, in whole steps of 16.
    const unit = s.kh * s.kw === 1 ? 16 : 1
    for (let wanted = 2, before = 1; wanted <= 32 && !software; wanted *= 2) {
      const splits = Math.ceil(s.cin / (Math.ceil(s.cin / wanted / unit) * unit))
      if (splits * leastTerms > s.cin * s.kh * s.kw || workgroups * before >= 4 * fullGrid) break
      found.set(`${name} /${wanted}`, () => make(splits))
      if (workgroups * before < fullGrid) usual = `${name} /${wanted}`
      before = splits
    }
    return usual
  }
  const tile = (name: string, side: number, px: number, co: number): string => {
    const special = s.kh === s.kw && (s.kh === 3 || s.kh === 1)
    const size = { side, px, co, kh: special ? s.kh : 0, kw: special ? s.kw : 0 }
    const [x, y, z] = conv2dTileGrid(s, size)
    return cut(name, x * y * z, (splits) => {
      const whole = splits === 1
      const keys: Conv2dTileKeys = {
        ...size,
        bias: whole && epilogue.bias,
        residual: whole && epilogue.residual,
        split: !whole,
      }
      return {
        key: `conv2d-tile ${JSON.stringify(keys)}`,
        code: () => conv2dTile(keys),
        grid: conv2dTileGrid(s, size, splits),
        uniforms: convWords(s, splits),
        splits,
      }
    })
  }
  const few = s.cout <= 8
  // Tiles of pixels by channels as bench/lab/conv-sweep.ts found them on lavapipe (subgroups of 8) and SwiftShader (4).
  const plain = register('register', 0, 8, 4)
  let usual = plain
  if (subgroupSize >= 4 && subgroupSize <= 16) {
    if (!few && subgroupSize >= 8) register('subgroup wide', subgroupSize, 4, 32)
    usual = register('subgroup', subgroupSize, 8, !few && (subgroupSize >= 8 || s.kw === 1) ? 16 : 8)
  }
  tile('tile 32x32', 8, 4, few ? 1 : 4)
  const tiled = tile('tile 64x64', 16, 4, few ? 1 : 4)
  return { found, usual: software ? usual : tiled }
}

function convolve(
  encoder: Encoder,
  s: ConvShape,
  { bias, residual }: Epilogue,
  [x, weight, ...added]: readonly Buffer[],
  y: Buffer,
): void {
  const { found, usual } = candidates(s, { bias, residual }, encoder.capabilities)
  const chosen = encoder.choose(`conv2d ${shapeKey(s)}`, [...found.keys()], usual)
  const { splits, ...kernel } = (found.get(chosen) as () => Variant)()
  const flops = convFlops(s)
  if (splits === 1) return encoder.dispatch({ ...kernel, read: [x, weight, ...added], write: [y], flops })
  const [area, count] = [s.ho * s.wo, s.n * s.cout * s.ho * s.wo]
  const partial = encoder.temporary(splits * count * 4)
  encoder.dispatch({ ...kernel, read: [x, weight], write: [partial], flops })
  sumSplits(encoder, { count, splits, area, channels: s.cout }, { bias, residual }, [partial, ...added], y)
}

/** Adds what a kernel left in `splits` parts, with bias and residual after them, into `out`. */
function sumSplits(
  encoder: Encoder,
  words: Parameters<typeof conv2dSumSplitsUniform.words>[0],
  epilogue: Epilogue,
  read: readonly Buffer[],
  out: Buffer,
): void {
  encoder.dispatch({
    key: `conv2d-sum-splits ${JSON.stringify(epilogue)}`,
    code: () => conv2dSumSplits(epilogue),
    uniforms: conv2dSumSplitsUniform.words(words),
    read,
    write: [out],
    grid: conv2dSumSplitsGrid(words.count),
  })
}

export const conv2d: Launch<ConvForwardParams> = (encoder, params, inputs, [y]) => {
  convolve(encoder, convShape(inputs[0], inputs[1], y, params), params, inputs, y)
}

export const conv2dDataGrad: Launch<ConvGradParams> = (encoder, params, [dy, weight], [dx]) => {
  const s = convShape(dx, weight, dy, params)
  // With stride 1 the data gradient is itself a convolution, with the same weights read in another order.
  if (s.stride === 1) return convolve(encoder, dataGradientShape(s), { bias: false, residual: false }, [dy, weight], dx)
  const { subgroupSize } = encoder.capabilities
  const keys: Conv2dDataGradientKeys = {
    subgroup: subgroupSize >= 4 && subgroupSize <= 16 ? subgroupSize : 0,
    px: 4,
    ci: s.cin <= 8 ? Math.max(8, subgroupSize) : 16,
  }
  encoder.dispatch({
    key: `conv2d-data-gradient ${JSON.stringify(keys)}`,
    code: () => conv2dDataGradient(keys),
    uniforms: convWords(s),
    read: [dy, weight],
    write: [dx],
    grid: conv2dDataGradientGrid(s, keys),
    flops: convFlops(s),
  })
}

export const conv2dWeightGrad: Launch<ConvGradParams> = (encoder, params, [x, dy], [dw]) => {
  const s = convShape(x, dw, dy, params)
  // Tiles of 32 x 32 compile three times as fast on lavapipe and run no slower.
  const keys = { side: encoder.capabilities.software ? 8 : 16, each: 4 }
  const splits = conv2dWeightGradientSplits(s, keys)
  const count = s.cout * s.cin * s.kh * s.kw
  const partial = splits === 1 ? dw : encoder.temporary(splits * count * 4)
  encoder.dispatch({
    key: `conv2d-weight-gradient ${JSON.stringify(keys)}`,
    code: () => conv2dWeightGradient(keys),
    uniforms: conv2dWeightGradientWords(s, splits),
    read: [x, dy],
    write: [partial],
    grid: conv2dWeightGradientGrid(s, keys, splits),
    flops: convFlops(s),
  })
  if (splits === 1) return
  // Without an epilogue nothing asks which channel an element belongs to.
  sumSplits(encoder, { count, splits, area: count, channels: 1 }, { bias: false, residual: false }, [partial], dw)
}
