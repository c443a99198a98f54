/**
 * What all convolution kernels share: the shape, its uniform, and how a kernel reads the weights.
 *
 * y[n,co,oy,ox] = Σ_{ci,ky,kx} x[n,ci, oy·stride − pad + ky, ox·stride − pad + kx] · w[co,ci,ky,kx], zero outside x.
 *
 * No kernel needs its own copy of the weights: each reads the state-dict's layout [Cout,Cin,KH,KW] through four numbers
 * of the uniform (element = co·wOut + ci·wIn + wTap0 + tap·wTapStep). The data gradient at stride 1 is the same
 * convolution of dY with the roles of Cin and Cout exchanged and the taps reversed, i.e. other numbers
 * ({@link dataGradientShape}); a second layout would cost 0.9 GB for ADM-64 and measured no faster (bench/REJECTED.md).
 */
import { uniform, type UniformValues } from './uniform.ts'

/** Sizes of a convolution as a kernel sees it; x [n,cin,h,w] → y [n,cout,ho,wo]. */
export interface ConvShape {
  readonly n: number
  readonly cin: number
  readonly h: number
  readonly w: number
  readonly cout: number
  readonly kh: number
  readonly kw: number
  readonly stride: number
  /** Zero rows above (and, unless `padX` is given, columns left). Negative in some data gradients: rows are cropped. */
  readonly pad: number
  readonly padX?: number
  readonly ho: number
  readonly wo: number
  /** The weights are those of the forward convolution, read with in and out exchanged and the taps reversed. */
  readonly transposed?: boolean
}

/** The convolution of dY with stride 1 that is the data gradient of `s`: dX = dataGradientShape(s) applied to dY. */
export function dataGradientShape(s: ConvShape): ConvShape {
  return {
    n: s.n,
    cin: s.cout,
    h: s.ho,
    w: s.wo,
    cout: s.cin,
    kh: s.kh,
    kw: s.kw,
    stride: 1,
    pad: s.kh - 1 - s.pad,
    padX: s.kw - 1 - (s.padX ?? s.pad),
    ho: s.h,
    wo: s.w,
    transposed: true,
  }
}

export const convFields = {
  n: 'i32',
  cin: 'i32',
  h: 'i32',
  w: 'i32',
  cout: 'i32',
  ho: 'i32',
  wo: 'i32',
  kh: 'i32',
  kw: 'i32',
  stride: 'i32',
  padY: 'i32',
  padX: 'i32',
  /** How the weights are read, see above. */
  wOut: 'i32',
  wIn: 'i32',
  wTap0: 'i32',
  wTapStep: 'i32',
  /** Input channels of a split: all, or those that one of several kernels' workgroups sums. */
  channels: 'i32',
} as const

/** The uniform of the convolution kernels. */
export const convUniform = uniform(convFields)

/** The words by name. `splits`: into how many sums over a part of the input channels the work is cut. */
export function convValues(s: ConvShape, splits = 1): UniformValues<typeof convFields> {
  const { n, cin, h, w, cout, ho, wo, kh, kw, stride, pad: padY, padX = padY } = s
  const taps = kh * kw
  const weights = s.transposed
    ? { wOut: taps, wIn: cout * taps, wTap0: taps - 1, wTapStep: -1 }
    : { wOut: cin * taps, wIn: taps, wTap0: 0, wTapStep: 1 }
  return { n, cin, h, w, cout, ho, wo, kh, kw, stride, padY, padX, ...weights, channels: Math.ceil(cin / splits) }
}

/** The words of {@link convUniform}. */
export const convWords = (s: ConvShape, splits = 1): number[] => convUniform.words(convValues(s, splits))

/**
 * Inputs and output of a convolution kernel: x, weights, then bias and residual where the key asks, then y. With
 * `vector` x, residual and y are arrays of vec4f.
 */
export function convBindings(bias: boolean, residual: boolean, vector = false): string {
  const inputs = ['x', 'weight', ...(bias ? ['bias'] : []), ...(residual ? ['residual'] : [])]
  const type = (name: string) => (vector && name !== 'weight' && name !== 'bias' ? 'vec4f' : 'f32')
  const lines = inputs.map(
    (name, i) => `@group(0) @binding(${i + 1}) var<storage, read> ${name}: array<${type(name)}>;`,
  )
  return [...lines, `@group(0) @binding(${inputs.length + 1}) var<storage, read_write> y: array<${type('y')}>;`].join(
    '\n',
  )
}

/** `count` workgroups as x and z of a grid, since a dimension holds 65535; the kernel reads z·num.x + x. */
export function fold(count: number, limit = 65535): { x: number; z: number } {
  const z = Math.ceil(count / limit)
  return { x: Math.ceil(count / z), z }
}

/** `line(0)` to `line(n − 1)`, one below the other: written-out loops of the kernels. */
export function lines(n: number, line: (i: number) => string): string {
  return Array.from({ length: n }, (_, i) => line(i)).join('\n')
}
