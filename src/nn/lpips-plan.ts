import { TweedieError } from '../errors.ts'

/** The backbones that LPIPS was published with. */
export type LpipsNet = 'alex' | 'vgg' | 'squeeze'

/** A layer of a backbone. */
export type LpipsLayer =
  /** ReLU follows. */
  | {
      type: 'conv'
      key: string
      inChannels: number
      outChannels: number
      kernel: number
      stride: number
      padding: number
    }
  | { type: 'maxpool'; kernel: number; stride: number; ceilMode: boolean }
  /** squeeze 1x1, then expand1x1 and expand3x3 (padding 1), concatenated; ReLU after each. */
  | { type: 'fire'; key: string; inChannels: number; squeeze: number; expand1x1: number; expand3x3: number }

/**
 * The layout of LPIPS v0.1 (richzhang/PerceptualSimilarity lpips/pretrained_networks.py) as data: the slices of
 * each backbone, in order. A tap is read at the end of every slice; a ReLU follows every convolution, and a fire module
 * is ReLU(squeeze), then [ReLU(expand1x1), ReLU(expand3x3)] side by side. Keys are torchvision's `features.{idx}`, and
 * `lin{k}.model.1.weight` for tap k, as in a complete LPIPS file.
 */
export interface LpipsPlan {
  net: LpipsNet
  /** A tap ends each slice. */
  slices: readonly (readonly LpipsLayer[])[]
  /** Channels of each tap. */
  taps: readonly number[]
}

/** `(x - shift) / scale` per channel of an image in [-1, 1], ahead of the backbone. */
export const LPIPS_SHIFT = [-0.03, -0.088, -0.188] as const
export const LPIPS_SCALE = [0.458, 0.448, 0.45] as const

const conv = (
  index: number,
  inChannels: number,
  outChannels: number,
  kernel = 3,
  stride = 1,
  padding = 1,
): LpipsLayer => ({ type: 'conv', key: `features.${index}`, inChannels, outChannels, kernel, stride, padding })

const fire = (index: number, inChannels: number, squeeze: number, expand: number): LpipsLayer => ({
  type: 'fire',
  key: `features.${index}`,
  inChannels,
  squeeze,
  expand1x1: expand,
  expand3x3: expand,
})

const pool = (kernel: number, ceilMode = false): LpipsLayer => ({ type: 'maxpool', kernel, stride: 2, ceilMode })

/** The layers and taps of a backbone. */
export function lpipsPlan(net: LpipsNet): LpipsPlan {
  switch (net) {
    case 'alex':
      return {
        net,
        slices: [
          [conv(0, 3, 64, 11, 4, 2)],
          [pool(3), conv(3, 64, 192, 5, 1, 2)],
          [pool(3), conv(6, 192, 384)],
          [conv(8, 384, 256)],
          [conv(10, 256, 256)],
        ],
        taps: [64, 192, 384, 256, 256],
      }
    case 'vgg':
      return {
        net,
        slices: [
          [conv(0, 3, 64), conv(2, 64, 64)],
          [pool(2), conv(5, 64, 128), conv(7, 128, 128)],
          [pool(2), conv(10, 128, 256), conv(12, 256, 256), conv(14, 256, 256)],
          [pool(2), conv(17, 256, 512), conv(19, 512, 512), conv(21, 512, 512)],
          [pool(2), conv(24, 512, 512), conv(26, 512, 512), conv(28, 512, 512)],
        ],
        taps: [64, 128, 256, 512, 512],
      }
    case 'squeeze':
      return {
        net,
        slices: [
          [conv(0, 3, 64, 3, 2, 0)],
          [pool(3, true), fire(3, 64, 16, 64), fire(4, 128, 16, 64)],
          [pool(3, true), fire(6, 128, 32, 128), fire(7, 256, 32, 128)],
          [pool(3, true), fire(9, 256, 48, 192)],
          [fire(10, 384, 48, 192)],
          [fire(11, 384, 64, 256)],
          [fire(12, 512, 64, 256)],
        ],
        taps: [64, 128, 256, 384, 384, 512, 512],
      }
  }
}

/** Name to shape of every tensor of a complete LPIPS file, backbone first, then the lin layers. */
export function lpipsStateDict(net: LpipsNet): Map<string, number[]> {
  const { slices, taps } = lpipsPlan(net)
  const dict = new Map<string, number[]>()
  const add = (key: string, outChannels: number, inChannels: number, kernel: number) => {
    dict.set(`${key}.weight`, [outChannels, inChannels, kernel, kernel])
    dict.set(`${key}.bias`, [outChannels])
  }
  for (const layer of slices.flat()) {
    if (layer.type === 'conv') add(layer.key, layer.outChannels, layer.inChannels, layer.kernel)
    if (layer.type === 'fire') {
      add(`${layer.key}.squeeze`, layer.squeeze, layer.inChannels, 1)
      add(`${layer.key}.expand1x1`, layer.expand1x1, layer.squeeze, 1)
      add(`${layer.key}.expand3x3`, layer.expand3x3, layer.squeeze, 3)
    }
  }
  taps.forEach((channels, k) => dict.set(linKey(k), [1, channels, 1, 1]))
  return dict
}

/** The 1x1 convolution of tap k, without bias: [1, channels, 1, 1]. */
export function linKey(tap: number): string {
  return `lin${tap}.model.1.weight`
}

/**
 * Which net a file holds, told from its keys; whether it is complete is for checkStateDict to say.
 * @throws TweedieError 'weights' where the backbone is missing or the lin layers are, as torchvision and LPIPS publish
 *   them
 */
export function lpipsNetOf(keys: Iterable<string>, name: string): LpipsNet {
  const found = new Set(keys)
  const backbones = ['features.3.squeeze.weight', 'features.2.weight', 'features.3.weight']
  if (backbones.some((key) => found.has(key)) && !found.has(linKey(0)))
    throw new TweedieError(
      'weights',
      `${name}: expected the tensors of an LPIPS net, found a backbone without the lin layers, as torchvision has ` +
        'it: add them (tweedie fetch lpips_alex, lpips_vgg or lpips_squeeze joins both)',
    )
  if (found.has('features.3.squeeze.weight')) return 'squeeze'
  if (found.has('features.2.weight')) return 'vgg'
  if (found.has('features.3.weight')) return 'alex'
  const only = found.has(linKey(0)) ? 'only the lin layers; a complete file holds the backbone too' : 'none of them'
  throw new TweedieError(
    'weights',
    `${name}: expected the tensors of an LPIPS net (features.* of alex, vgg or squeeze, and lin*), found ${only}`,
  )
}

/**
 * [height, width] of every tap for an image of this size.
 * @throws TweedieError 'shape' for an image too small for the net (alex needs 31, squeeze 17, vgg 16)
 */
export function lpipsTapSizes(net: LpipsNet, height: number, width: number): [number, number][] {
  let size: [number, number] = [height, width]
  return lpipsPlan(net).slices.map((slice) => {
    for (const layer of slice) size = [outputSize(layer, size[0]), outputSize(layer, size[1])]
    if (Math.min(...size) < 1) {
      throw new TweedieError(
        'shape',
        `an image of ${height}x${width} is too small for LPIPS ${net}: ` +
          `its last maps would be empty, ${minimumSize(net)}x${minimumSize(net)} is the least`,
      )
    }
    return size
  })
}

function outputSize(layer: LpipsLayer, size: number): number {
  if (layer.type === 'fire') return size
  const padding = layer.type === 'conv' ? layer.padding : 0
  const steps = (size + 2 * padding - layer.kernel) / layer.stride
  // In ceil mode a last window may hang over the edge, also where it is the only one: 2 entries, kernel 3, yield 1.
  return Math.max(0, (layer.type === 'maxpool' && layer.ceilMode ? Math.ceil(steps) : Math.floor(steps)) + 1)
}

function minimumSize(net: LpipsNet): number {
  const { slices } = lpipsPlan(net)
  for (let size = 1; ; size++) {
    if (slices.flat().reduce((n, layer) => (n < 1 ? 0 : outputSize(layer, n)), size) >= 1) return size
  }
}
