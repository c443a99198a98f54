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
import {
  conv2dHalo,
  conv2dHaloGrid,
  conv2dHaloThreads,
  type Conv2dHaloKeys,
  type Conv2dHaloTile,
} from '../../../shaders/conv2d-halo.ts'
import { conv2dRegister, conv2dRegisterGrid, type Conv2dRegisterKeys } from '../../../shaders/conv2d-register.ts'
import { convWords, dataGradientShape, type ConvShape } from '../../../shaders/conv2d-shape.ts'
import type { Epilogue } from '../../../shaders/sum-splits.ts'
import { conv2dTile, conv2dTileGrid, type Conv2dTileKeys } from '../../../shaders/conv2d-tile.ts'
import {
  conv2dWeightGradient,
  conv2dWeightGradientGrid,
  conv2dWeightGradientStep,
  conv2dWeightGradientWords,
} from '../../../shaders/conv2d-weight-gradient.ts'
import {
  conv2dWeightGradientHalo,
  conv2dWeightGradientHaloGrid,
  conv2dWeightGradientHaloPixels,
  conv2dWeightGradientHaloThreads,
  conv2dWeightGradientHaloTiles,
  conv2dWeightGradientHaloWords,
} from '../../../shaders/conv2d-weight-gradient-halo.ts'
import { gemmStep } from '../../../shaders/gemm.ts'
import { convFlops, convShape } from '../../conv-shape.ts'
import type { ConvForwardParams, ConvGradParams } from '../../ops/conv2d.ts'
import type { Buffer, Capabilities, Encoder, Launch } from '../launch.ts'
import { gemmFits, gemmTiles, pointwiseProduct, pointwiseWeightGradient } from './gemm.ts'
import { cut, cutLong, fullGrid, fusedIn, runChosen, type Candidates, type Variant } from './splits.ts'

/** The batch is part of it: how many workgroups there are decides which tile fills the adapter, so each is measured. */
const shapeKey = (s: ConvShape): string =>
  `${s.cin}>${s.cout} ${s.kh}x${s.kw}/${s.stride} ${s.ho}x${s.wo}x${s.n}${s.transposed ? ' T' : ''}`

/** The kernels that can compute `s` on the device that can do this. */
function candidates(s: ConvShape, epilogue: Epilogue, { subgroupSize, software, maxGrid }: Capabilities): Candidates {
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
  const taps = s.kh * s.kw
  /** Cuts are between channels, `unit` of which stay together. Any grid fills the few cores of a software adapter. */
  const cutChannels = (
    name: string,
    { workgroups, full, unit }: { workgroups: number; full: number; unit: number },
    make: (splits: number) => Variant,
  ): { name: string; fills: boolean } => {
    const terms = s.cin * taps
    return cut(found, name, { workgroups, full, terms, piece: software ? terms : unit * taps }, make)
  }
  const tile = (name: string, side: number, px: number, co: number): { name: string } => {
    const special = s.kh === s.kw && (s.kh === 3 || s.kh === 1)
    const size = { side, px, co, kh: special ? s.kh : 0, kw: special ? s.kw : 0 }
    // Of a 1×1, whose terms are channels, in whole steps of 16.
    const amount = { workgroups: count(conv2dTileGrid(s, size)), full: fullGrid, unit: taps === 1 ? gemmStep : 1 }
    return cutChannels(name, amount, (splits) => {
      const keys: Conv2dTileKeys = {
        ...size,
        ...fusedIn(epilogue, splits),
        split: splits > 1,
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
  const halo = (tile: Conv2dHaloTile): { name: string; fills: boolean } => {
    const { images, tx, ty, co } = tile
    const name = `halo ${images === 1 ? '' : `${images}x`}${tx}x${ty}x${co}`
    const full = (haloFull * 256) / conv2dHaloThreads(tile)
    return cutChannels(name, { workgroups: count(conv2dHaloGrid(s, tile)), full, unit: 4 }, (splits) => {
      const keys: Conv2dHaloKeys = {
        ...tile,
        vector: s.w % 4 === 0,
        ...fusedIn(epilogue, splits),
        split: splits > 1,
      }
      return {
        key: `conv2d-halo ${JSON.stringify(keys)}`,
        code: () => conv2dHalo(keys),
        grid: conv2dHaloGrid(s, tile, splits),
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
    // A tile is a multiple of the subgroup, also where fewer channels are.
    const co = !few && (subgroupSize >= 8 || s.kw === 1) ? 16 : Math.max(8, subgroupSize)
    usual = register('subgroup', subgroupSize, 8, co)
  }
  tile('tile 32x32', 8, 4, few ? 1 : 4)
  const tiled = tile('tile 64x64', 16, 4, few ? 1 : 4)
  if (software) return { found, usual }
  // The GEMM has its column tiles along x alone.
  const product = pointwiseProduct(s)
  if (isPointwise(s) && s.n * s.ho * s.wo <= 64 * maxGrid && gemmFits(product))
    return { found, usual: gemmTiles(found, product, epilogue) }
  // The largest tile of which there are two of 128 threads or more a multiprocessor, else the largest of at most 128
  // threads that can be cut to fill the machine, else the smallest. In a workgroup of 256 a multiprocessor that has two
  // where another has one waits longest: 16x16x64 gives 192 for 64² and 192 channels at batch 4, where 264 would take
  // as long; 16x8x64 384, where 396 would.
  const tiles = haloTiles(s)
  const halos = tiles.map(halo)
  const large = tiles.findIndex(
    (t) => count(conv2dHaloGrid(s, t)) >= 2 * fullGrid * Math.max(1, 128 / conv2dHaloThreads(t)),
  )
  const small = tiles.findIndex((t, i) => conv2dHaloThreads(t) <= 128 && halos[i].fills)
  const best = large >= 0 ? large : small >= 0 ? small : halos.length - 1
  return { found, usual: (halos[best] ?? tiled).name }
}

/**
 * Workgroups of 256 threads that a cut makes at least. A little less than one a multiprocessor does: on an H100 256 of
 * 128 threads took 30 us where twice as many, in as many more parts, took 40.
 */
const haloFull = 0.95 * fullGrid

/** Whether it is a product of matrices: 1×1 without stride or padding. */
const isPointwise = ({ kh, kw, stride, h, w, ho, wo }: ConvShape): boolean =>
  kh === 1 && kw === 1 && stride === 1 && ho === h && wo === w

/** Whether it is what the halo kernels have: 3×3 of stride 1 and pad 1. */
const isHalo = ({ kh, kw, stride, pad, padX = pad }: ConvShape): boolean =>
  kh === 3 && kw === 3 && stride === 1 && pad === 1 && padX === 1

/** Workgroups of a grid. */
const count = ([x, y, z]: readonly [number, number, number]): number => x * y * z

/**
 * Tiles of the halo kernel for the shape, the largest first: those that compute at most an eighth more outputs than
 * must be. None where it is no 3×3 of stride 1 and pad 1.
 */
function haloTiles(s: ConvShape): Conv2dHaloTile[] {
  const { n, w, h, cout } = s
  if (!isHalo(s)) return []
  const side = Math.max(w, h)
  const co = cout <= 16 ? 16 : cout < 160 && Math.ceil(cout / 32) % 2 === 1 ? 32 : 64
  const tiles =
    side > 8
      ? [
          { images: 1, tx: 16, ty: 16, co },
          ...(co > 16 ? [{ images: 1, tx: 16, ty: 8, co }] : []),
          ...(co > 32 ? [{ images: 1, tx: 8, ty: 8, co }] : []),
        ]
      : [
          ...(n > 1 ? [{ images: 2, tx: 8, ty: 8, co: 64 }] : []),
          { images: 1, tx: 8, ty: 8, co: 64 },
          ...(side <= 4 ? [{ images: 4, tx: 4, ty: 4, co: 64 }] : []),
        ]
  const padded = ({ images, tx, ty }: Conv2dHaloTile): number =>
    Math.ceil(n / images) * images * Math.ceil(w / tx) * tx * Math.ceil(h / ty) * ty
  const least = Math.min(...tiles.map(padded))
  return tiles.filter((tile) => padded(tile) <= least * 1.125)
}

function convolve(
  encoder: Encoder,
  s: ConvShape,
  { bias, residual }: Epilogue,
  inputs: readonly Buffer[],
  y: Buffer,
): void {
  const area = s.ho * s.wo
  const task = {
    choice: `conv2d ${shapeKey(s)}${bias ? ' +bias' : ''}${residual ? ' +residual' : ''}`,
    also: `${s.h}x${s.w} ${s.pad} ${s.padX}`,
    candidates: () => candidates(s, { bias, residual }, encoder.capabilities),
    epilogue: { bias, residual },
    flops: convFlops(s),
    ...{ count: s.n * s.cout * area, area, channels: s.cout },
  }
  runChosen(encoder, task, inputs, y)
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

/** Kernels for the weight gradient, whole and with their pixels cut into ranges. */
function weightGradients(s: ConvShape, { software, maxGrid }: Capabilities): Candidates {
  const found = new Map<string, () => Variant>()
  const terms = s.n * s.ho * s.wo
  // Tiles of 32 x 32 compile three times as fast on lavapipe and run no slower.
  const keys = { side: software ? 8 : 16, each: 4 }
  const name = `tile ${4 * keys.side}x${4 * keys.side}`
  const make = (splits: number): Variant => ({
    key: `conv2d-weight-gradient ${JSON.stringify(keys)}`,
    code: () => conv2dWeightGradient(keys),
    uniforms: conv2dWeightGradientWords(s, splits),
    grid: conv2dWeightGradientGrid(s, keys, splits),
    splits,
  })
  const workgroups = count(conv2dWeightGradientGrid(s, keys, 1))
  if (software) {
    // On a few cores ranges are for their caches: some 64 workgroups, of 256 pixels at least.
    const wanted = Math.max(1, Math.min(Math.floor(64 / workgroups), Math.floor(terms / 256)))
    const range = Math.ceil(terms / wanted / conv2dWeightGradientStep) * conv2dWeightGradientStep
    found.set(name, () => make(Math.ceil(terms / range)))
    return { found, usual: name }
  }
  const step = conv2dWeightGradientStep
  const usual = cutLong(found, name, { workgroups, threads: keys.side ** 2, lighter: 2, terms, step }, make)
  if (isPointwise(s)) {
    const product = pointwiseWeightGradient(s)
    const fits = gemmFits(product) && s.cin <= 64 * maxGrid
    return { found, usual: fits ? gemmTiles(found, product, { bias: false, residual: false }, true) : usual }
  }
  if (!isHalo(s)) return { found, usual }
  // As few pixels beyond the map as can be. Half as many threads are spread more evenly over multiprocessors: of the
  // whole in flight at once ADM-64's shapes keep 0.94 busy, of twice as many threads 0.86.
  const pixels = (tx: number): number =>
    conv2dWeightGradientHaloTiles(s, { tx, ci: 8 }) * conv2dWeightGradientHaloPixels
  const tx = pixels(8) < pixels(16) ? 8 : 16
  const [halo] = [8, 16].map((ci) => {
    const tile = { tx, ci }
    const work = {
      workgroups: count(conv2dWeightGradientHaloGrid(s, tile, 1)),
      threads: conv2dWeightGradientHaloThreads(tile),
      terms: pixels(tx),
      step: conv2dWeightGradientHaloPixels,
    }
    return cutLong(found, `halo ${tx}x${32 / tx}x${ci}`, work, (splits): Variant => {
      const keys = { ...tile, vector: s.w % 4 === 0 }
      return {
        key: `conv2d-weight-gradient-halo ${JSON.stringify(keys)}`,
        code: () => conv2dWeightGradientHalo(keys),
        uniforms: conv2dWeightGradientHaloWords(s, tile, splits),
        grid: conv2dWeightGradientHaloGrid(s, tile, splits),
        splits,
      }
    })
  })
  // It has twice the share of multiply-adds.
  return { found, usual: pixels(tx) <= 2 * terms ? halo : usual }
}

export const conv2dWeightGrad: Launch<ConvGradParams> = (encoder, params, [x, dy], [dw]) => {
  const s = convShape(x, dw, dy, params)
  const count = s.cout * s.cin * s.kh * s.kw
  const task = {
    choice: `conv2dWeightGrad ${shapeKey(s)}`,
    also: `${s.h}x${s.w} ${s.pad} ${s.padX}`,
    candidates: () => weightGradients(s, encoder.capabilities),
    // Nothing is added to the sums.
    epilogue: { bias: false, residual: false },
    flops: convFlops(s),
    ...{ count, area: count, channels: 1 },
  }
  runChosen(encoder, task, [x, dy], dw)
}
