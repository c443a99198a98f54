/**
 * The Inception-v3 of the Fréchet inception distance as data (mseitzer/pytorch-fid inception.py, a port of the
 * TensorFlow network of 2015-12-05; Szegedy et al., CVPR 2016). It differs from the network that classifies: its
 * average pools leave the padding out, the last block takes a maximum where all others take an average, and there are
 * 1008 classes. A layer is a few branches over one input, side by side, whose outputs are joined in order; the layers
 * ahead of the blocks have one branch.
 */
import { batchNormEntries, type NormPairs } from './fold.ts'

/** Convolution without bias, batch norm, ReLU; keys are `KEY.conv.weight` and `KEY.bn.*`. */
export interface InceptionUnit {
  readonly type: 'unit'
  readonly key: string
  readonly inChannels: number
  readonly outChannels: number
  /** Height and width, as are stride's and padding's. */
  readonly kernel: readonly [number, number]
  readonly stride: number
  readonly padding: readonly [number, number]
}

/** Windows of 3 x 3: at stride 1 with a padding of 1, at stride 2 without. */
export interface InceptionPool {
  readonly type: 'average' | 'maximum'
  readonly stride: 1 | 2
  /** Whether an average divides by 9 also where a window hangs over the edge. */
  readonly countPadding: boolean
}

/** One operation of a branch. */
export type InceptionStep =
  | InceptionUnit
  | InceptionPool
  /** Each on the same input, joined. */
  | { readonly type: 'fork'; readonly units: readonly InceptionUnit[] }

/** Branches over one input, of which each is a chain of steps; their outputs are joined. */
export interface InceptionLayer {
  /** `Mixed_5b`; the first key of layers ahead of the blocks. */
  readonly name: string
  readonly branches: readonly (readonly InceptionStep[])[]
}

/** Side of the pictures. */
export const INCEPTION_SIZE = 299

/** Of the classifier, of which {@link inceptionStateDict} has the weights. */
export const INCEPTION_CLASSES = 1008

/** Added to the variances of its batch norms; PyTorch's default would be 1e-5. */
export const INCEPTION_EPSILON = 1e-3

type Kernel = number | readonly [number, number]

interface UnitOptions {
  readonly stride?: number
  /** Default: what keeps the size at stride 1. */
  readonly padding?: number
}

function unit(
  key: string,
  inChannels: number,
  outChannels: number,
  kernel: Kernel = 1,
  { stride = 1, padding }: UnitOptions = {},
): InceptionUnit {
  const [rows, columns] = typeof kernel === 'number' ? [kernel, kernel] : kernel
  return {
    type: 'unit',
    key,
    inChannels,
    outChannels,
    kernel: [rows, columns],
    stride,
    padding: padding === undefined ? [(rows - 1) / 2, (columns - 1) / 2] : [padding, padding],
  }
}

const average: InceptionPool = { type: 'average', stride: 1, countPadding: false }
const maximum: InceptionPool = { type: 'maximum', stride: 1, countPadding: false }
const halve: InceptionPool = { type: 'maximum', stride: 2, countPadding: false }
/** A convolution that halves the map: no padding. */
const halving: UnitOptions = { stride: 2, padding: 0 }

const stem = (name: string, ...steps: InceptionStep[]): InceptionLayer => ({ name, branches: [steps] })

function blockA(name: string, channels: number, pooled: number): InceptionLayer {
  return {
    name,
    branches: [
      [unit(`${name}.branch1x1`, channels, 64)],
      [unit(`${name}.branch5x5_1`, channels, 48), unit(`${name}.branch5x5_2`, 48, 64, 5)],
      [
        unit(`${name}.branch3x3dbl_1`, channels, 64),
        unit(`${name}.branch3x3dbl_2`, 64, 96, 3),
        unit(`${name}.branch3x3dbl_3`, 96, 96, 3),
      ],
      [average, unit(`${name}.branch_pool`, channels, pooled)],
    ],
  }
}

function blockB(name: string, channels: number): InceptionLayer {
  return {
    name,
    branches: [
      [unit(`${name}.branch3x3`, channels, 384, 3, halving)],
      [
        unit(`${name}.branch3x3dbl_1`, channels, 64),
        unit(`${name}.branch3x3dbl_2`, 64, 96, 3),
        unit(`${name}.branch3x3dbl_3`, 96, 96, 3, halving),
      ],
      [halve],
    ],
  }
}

function blockC(name: string, width: number): InceptionLayer {
  const channels = 768
  return {
    name,
    branches: [
      [unit(`${name}.branch1x1`, channels, 192)],
      [
        unit(`${name}.branch7x7_1`, channels, width),
        unit(`${name}.branch7x7_2`, width, width, [1, 7]),
        unit(`${name}.branch7x7_3`, width, 192, [7, 1]),
      ],
      [
        unit(`${name}.branch7x7dbl_1`, channels, width),
        unit(`${name}.branch7x7dbl_2`, width, width, [7, 1]),
        unit(`${name}.branch7x7dbl_3`, width, width, [1, 7]),
        unit(`${name}.branch7x7dbl_4`, width, width, [7, 1]),
        unit(`${name}.branch7x7dbl_5`, width, 192, [1, 7]),
      ],
      [average, unit(`${name}.branch_pool`, channels, 192)],
    ],
  }
}

function blockD(name: string): InceptionLayer {
  return {
    name,
    branches: [
      [unit(`${name}.branch3x3_1`, 768, 192), unit(`${name}.branch3x3_2`, 192, 320, 3, halving)],
      [
        unit(`${name}.branch7x7x3_1`, 768, 192),
        unit(`${name}.branch7x7x3_2`, 192, 192, [1, 7]),
        unit(`${name}.branch7x7x3_3`, 192, 192, [7, 1]),
        unit(`${name}.branch7x7x3_4`, 192, 192, 3, halving),
      ],
      [halve],
    ],
  }
}

function blockE(name: string, channels: number, pool: InceptionPool): InceptionLayer {
  const both = (key: string): InceptionStep => ({
    type: 'fork',
    units: [unit(`${key}a`, 384, 384, [1, 3]), unit(`${key}b`, 384, 384, [3, 1])],
  })
  return {
    name,
    branches: [
      [unit(`${name}.branch1x1`, channels, 320)],
      [unit(`${name}.branch3x3_1`, channels, 384), both(`${name}.branch3x3_2`)],
      [
        unit(`${name}.branch3x3dbl_1`, channels, 448),
        unit(`${name}.branch3x3dbl_2`, 448, 384, 3),
        both(`${name}.branch3x3dbl_3`),
      ],
      [pool, unit(`${name}.branch_pool`, channels, 192)],
    ],
  }
}

/** The layers, in order. Maps of 149, 147, 73, 71, 35, 17 and 8 pixels a side for pictures of 299. */
export const inceptionPlan: readonly InceptionLayer[] = [
  stem('Conv2d_1a_3x3', unit('Conv2d_1a_3x3', 3, 32, 3, halving)),
  stem('Conv2d_2a_3x3', unit('Conv2d_2a_3x3', 32, 32, 3, { padding: 0 })),
  stem('Conv2d_2b_3x3', unit('Conv2d_2b_3x3', 32, 64, 3)),
  stem('maxpool1', halve),
  stem('Conv2d_3b_1x1', unit('Conv2d_3b_1x1', 64, 80)),
  stem('Conv2d_4a_3x3', unit('Conv2d_4a_3x3', 80, 192, 3, { padding: 0 })),
  stem('maxpool2', halve),
  blockA('Mixed_5b', 192, 32),
  blockA('Mixed_5c', 256, 64),
  blockA('Mixed_5d', 288, 64),
  blockB('Mixed_6a', 288),
  blockC('Mixed_6b', 128),
  blockC('Mixed_6c', 160),
  blockC('Mixed_6d', 160),
  blockC('Mixed_6e', 192),
  blockD('Mixed_7a'),
  blockE('Mixed_7b', 1280, average),
  // A maximum here: the TensorFlow network has it, and statistics computed with it are what everyone compares with.
  blockE('Mixed_7c', 2048, maximum),
]

const units = (): InceptionUnit[] =>
  inceptionPlan
    .flatMap(({ branches }) => branches.flat())
    .flatMap((step) => (step.type === 'unit' ? [step] : step.type === 'fork' ? step.units : []))

/** Name to shape of every tensor of the published file, in its order, without the counters of its batch norms. */
export function inceptionStateDict(): Map<string, number[]> {
  return new Map([
    ...units().flatMap(({ key, inChannels, outChannels, kernel }): [string, number[]][] => [
      [`${key}.conv.weight`, [outChannels, inChannels, ...kernel]],
      ...batchNormEntries(`${key}.bn`, outChannels),
    ]),
    ['fc.weight', [INCEPTION_CLASSES, 2048]],
    ['fc.bias', [INCEPTION_CLASSES]],
  ])
}

/** Its batch norms, by the convolution ahead of each. */
export const inceptionNorms = (): NormPairs => new Map(units().map(({ key }) => [`${key}.conv`, `${key}.bn`]))
