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
import { conv2dSumSplits, conv2dSumSplitsGrid, conv2dSumSplitsUniform } from '../../../shaders/conv2d-sum-splits.ts'
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
}

/** What is added to the sums before they are stored. */
interface Epilogue {
  readonly bias: boolean
  readonly residual: boolean
}

/** The kernels that can compute `s` on this device, best guess first. */
function variants(
  s: ConvShape,
  { bias, residual }: Epilogue,
  { subgroupSize, software }: Capabilities,
): Map<string, Variant> {
  const found = new Map<string, Variant>()
  const register = (name: string, subgroup: number, px: number, co: number): void => {
    const kw = s.kh === 1 && s.kw === 1 ? 1 : s.kw === 3 && s.stride === 1 ? 3 : 0
    const keys: Conv2dRegisterKeys = { subgroup, px, co, kw, bias, residual }
    found.set(name, {
      key: `conv2d-register ${JSON.stringify(keys)}`,
      code: () => conv2dRegister(keys),
      grid: conv2dRegisterGrid(s, keys),
    })
  }
  const tile = (name: string, side: number, px: number, co: number): void => {
    const special = s.kh === s.kw && (s.kh === 3 || s.kh === 1)
    const keys: Conv2dTileKeys = { side, px, co, kh: special ? s.kh : 0, kw: special ? s.kw : 0, bias, residual }
    found.set(name, {
      key: `conv2d-tile ${JSON.stringify(keys)}`,
      code: () => conv2dTile(keys),
      grid: conv2dTileGrid(s, keys),
    })
  }
  const few = s.cout <= 8
  // Tiles of pixels by channels as bench/lab/conv-sweep.ts found them on lavapipe (subgroups of 8) and SwiftShader (4).
  const subgroup = (): void => {
    if (subgroupSize < 4 || subgroupSize > 16) return
    register('subgroup', subgroupSize, 8, !few && (subgroupSize >= 8 || s.kw === 1) ? 16 : 8)
    if (!few && subgroupSize >= 8) register('subgroup wide', subgroupSize, 4, 32)
  }
  const plain = (): void => register('register', 0, 8, 4)
  const tiles = (): void => {
    tile('tile 64x64', 16, 4, few ? 1 : 4)
    tile('tile 32x32', 8, 4, few ? 1 : 4)
  }
  if (software) {
    subgroup()
    plain()
    tiles()
  } else {
    tiles()
    plain()
    subgroup()
  }
  return found
}

function convolve(encoder: Encoder, s: ConvShape, epilogue: Epilogue, inputs: readonly Buffer[], output: Buffer): void {
  const candidates = variants(s, epilogue, encoder.capabilities)
  const names = [...candidates.keys()]
  const { key, code, grid } = candidates.get(encoder.choose(`conv2d ${shapeKey(s)}`, names, names[0])) as Variant
  encoder.dispatch({ key, code, grid, uniforms: convWords(s), read: inputs, write: [output], flops: convFlops(s) })
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
  encoder.dispatch({
    key: 'conv2d-sum-splits',
    code: conv2dSumSplits,
    uniforms: conv2dSumSplitsUniform.words({ count, splits }),
    read: [partial],
    write: [dw],
    grid: conv2dSumSplitsGrid(count),
  })
}
