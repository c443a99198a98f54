/** The shapes that are measured: what the networks of this project, and of Stable Diffusion, spend their time on. */
import { TweedieError } from '../errors.ts'

/** A convolution with stride 1 and the padding that keeps the size. */
export interface ConvolutionShape {
  readonly n: number
  readonly cin: number
  readonly cout: number
  readonly h: number
  readonly w: number
  /** Side of the kernel, odd. */
  readonly k: number
}

/** One shape of each kind of kernel. */
export interface ShapeGroup {
  readonly name: string
  readonly convolutions: readonly ConvolutionShape[]
  readonly products: readonly { readonly m: number; readonly n: number; readonly k: number }[]
  readonly attentions: readonly { readonly n: number; readonly heads: number; readonly d: number; readonly t: number }[]
  readonly norms: readonly {
    readonly n: number
    readonly c: number
    readonly h: number
    readonly w: number
    readonly groups: number
  }[]
}

/** The level of a U-Net: `size` squared positions of `width` channels, with the attention it has there. */
function level(name: string, n: number, size: number, width: number, heads = 0, d = 64): ShapeGroup {
  const square = { n, h: size, w: size }
  return {
    name,
    convolutions: [
      { ...square, cin: width, cout: width, k: 3 },
      { ...square, cin: 2 * width, cout: width, k: 1 },
    ],
    products: [{ m: n, n: 2 * width, k: 4 * width }],
    attentions: heads > 0 ? [{ n, heads, d, t: size * size }] : [],
    norms: [{ ...square, c: width, groups: 32 }],
  }
}

/** Groups by name; `batch` is that of the large networks, the small one's is 8 times it. */
export const shapeGroups = (batch = 1): Readonly<Record<string, ShapeGroup>> => ({
  toy: level('the small U-Net, 32 x 32', 8 * batch, 32, 64),
  'toy-8': level('the small U-Net, 8 x 8', 8 * batch, 8, 64, 2, 32),
  'adm-64': level('ADM-64, 64 x 64', batch, 64, 192),
  'adm-32': level('ADM-64, 32 x 32', batch, 32, 384, 6),
  'adm-16': level('ADM-64, 16 x 16', batch, 16, 576, 9),
  'adm-8': level('ADM-64, 8 x 8', batch, 8, 768, 12),
  'sd-64': level('Stable Diffusion, 64 x 64', batch, 64, 320, 8, 40),
  'sd-32': level('Stable Diffusion, 32 x 32', batch, 32, 640, 8, 80),
  'sd-16': level('Stable Diffusion, 16 x 16', batch, 16, 1280, 8, 160),
})

/** Small and odd: every edge of every kernel, in moments. */
export const tinyShapes: ShapeGroup = {
  name: 'odd shapes',
  convolutions: [
    { n: 2, cin: 7, cout: 11, h: 9, w: 13, k: 3 },
    { n: 1, cin: 33, cout: 70, h: 8, w: 8, k: 3 },
    { n: 1, cin: 19, cout: 5, h: 7, w: 10, k: 1 },
  ],
  products: [{ m: 33, n: 70, k: 19 }],
  attentions: [{ n: 1, heads: 2, d: 16, t: 37 }],
  norms: [{ n: 2, c: 32, h: 5, w: 7, groups: 32 }],
}

/** The convolution of `--shape n,cin,cout,h,w,k`, as a group of its own. */
export function shapeOfUser(numbers: readonly number[]): ShapeGroup {
  const [n, cin, cout, h, w, k] = numbers
  if (!areSizes(numbers, 6) || k % 2 === 0)
    throw new TweedieError(
      'option',
      'A shape is n,cin,cout,h,w,k: six whole numbers of 1 or more, the last of them odd, as in 1,192,192,64,64,3; ' +
        `found ${numbers.join(',')}.`,
    )
  return { name: 'your shape', convolutions: [{ n, cin, cout, h, w, k }], products: [], attentions: [], norms: [] }
}

/** Whether these are so many sizes. */
export const areSizes = (numbers: readonly number[], count: number): boolean =>
  numbers.length === count && numbers.every((v) => Number.isSafeInteger(v) && v >= 1)
