/**
 * The kernels that are measured, one description each: what their sizes are called, what they are given at a size, what
 * ours computes it by, and the sums in double precision that any kernel in its place is held against. Rows, `--shape`
 * and a kernel of the user's (`own.ts`) come from it.
 */
import { convWords } from '../shaders/conv2d-shape.ts'
import { attention, groupNorm, matmul, silu, softmax, type Tensor } from '../tensor/index.ts'
import { applyOne, applyOp } from '../tensor/op.ts'
import { attentionGrad } from '../tensor/ops/attention.ts'
import { conv2d, conv2dDataGrad, conv2dWeightGrad } from '../tensor/ops/conv2d.ts'
import { groupNormDataGrad, groupNormSums } from '../tensor/ops/group-norm.ts'
import { hash } from './formula.ts'
import {
  attended,
  attentionGradient,
  convolved,
  dataGradient,
  normalised,
  normGradient,
  product,
  softened,
  weightGradient,
  type Exact,
} from './reference.ts'
import { areSizes, type ShapeGroup } from './shapes.ts'
import { TweedieError } from '../errors.ts'

type Input = { readonly shape: readonly number[]; readonly data: Float32Array<ArrayBuffer> }

/** A kernel at a size, on the host: what it is given, what it must give, and how ours is asked for. */
export interface KernelCase {
  /** Its name in {@link kernelKinds}; of convolutions with another side than 1 or 3, as theirs. */
  readonly as: string
  readonly op: string
  readonly shape: string
  readonly sizes: Readonly<Record<string, number>>
  /** What a kernel of the user's finds at binding 0: 32-bit integers, at most 64. */
  readonly uniforms: readonly number[]
  readonly inputs: readonly Input[]
  readonly output: readonly number[]
  readonly run: (inputs: readonly Tensor[]) => Tensor
  readonly exact: (index: number) => Exact
  /** The largest error that rounding explains, relative to the sum of the terms' absolute values. */
  readonly tolerance: number
}

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
const input = (shape: readonly number[], j: number, scale = 1, offset = 0): Input => ({
  shape,
  data: hash(size(shape), j, 7, scale, offset),
})

type Sizes<N extends string> = Readonly<Record<N, number>>

/** A kind of kernel. */
export interface KernelKind {
  readonly as: string
  /** In the order of `--shape`; a grid is made of them. */
  readonly sizes: readonly string[]
  /** Sizes at which a kernel of the user's is checked: of one element, odd, even, larger than a tile of 64. */
  readonly checked: readonly (readonly number[])[]
  readonly at: (sizes: readonly number[]) => KernelCase
}

function kind<N extends string>(
  as: string,
  sizes: readonly N[],
  checked: KernelKind['checked'],
  make: (sizes: Sizes<N>) => Omit<KernelCase, 'as' | 'sizes' | 'uniforms'> & { readonly uniforms?: readonly number[] },
): KernelKind {
  return {
    as,
    sizes,
    checked,
    at(numbers) {
      const named = Object.fromEntries(sizes.map((name, i) => [name, numbers[i]])) as Sizes<N>
      return { as, sizes: named, uniforms: numbers, ...make(named) }
    },
  }
}

const convSizes = ['n', 'cin', 'cout', 'h', 'w'] as const
const convChecked = [
  [1, 1, 1, 1, 1],
  [2, 7, 11, 9, 13],
  [1, 16, 64, 8, 8],
  [1, 33, 70, 17, 6],
  [3, 4, 2, 5, 4],
]

const convolutionParts = ['forward', 'data gradient', 'weight gradient'] as const

/** The three kernels of a convolution with stride 1 and a side of k; all have the uniform of the forward one. */
function convolution(k: number, part: (typeof convolutionParts)[number]): KernelKind {
  const padding = (k - 1) / 2
  const as = `conv2d-${k}x${k}${part === 'forward' ? '' : `-${part.replace(' ', '-')}`}`
  return kind(as, convSizes, convChecked, ({ n, cin, cout, h, w }) => {
    const s = { n, cin, cout, h, w, k }
    const [x, weight, dy] = [input([n, cin, h, w], 0), input([cout, cin, k, k], 1), input([n, cout, h, w], 2)]
    const grad = { stride: 1, padding }
    const common = {
      op: part === 'forward' ? `conv2d ${k}x${k}` : `${part} ${k}x${k}`,
      shape: `${n} x ${cin}>${cout}, ${h}x${w}`,
      uniforms: convWords({ n, cin, h, w, cout, kh: k, kw: k, stride: 1, pad: padding, ho: h, wo: w }),
      tolerance: 4e-6,
    }
    if (part === 'forward')
      return {
        ...common,
        inputs: [x, weight],
        output: dy.shape,
        run: ([a, b]) => conv2d(a, b, { padding }),
        exact: convolved(s, x.data, weight.data),
      }
    if (part === 'data gradient')
      return {
        ...common,
        inputs: [dy, weight],
        output: x.shape,
        run: ([a, b]) => applyOne(conv2dDataGrad, { ...grad, shape: x.shape }, [a, b]),
        exact: dataGradient(s, dy.data, weight.data),
      }
    return {
      ...common,
      inputs: [x, dy],
      output: weight.shape,
      run: ([a, b]) => applyOne(conv2dWeightGrad, { ...grad, shape: weight.shape }, [a, b]),
      exact: weightGradient(s, x.data, dy.data),
    }
  })
}

const attentionSizes = ['n', 'heads', 'd', 't'] as const
const attentionChecked = [
  [1, 1, 1, 1],
  [2, 3, 5, 37],
  [1, 2, 64, 65],
  [1, 1, 32, 8],
]
const normSizes = ['n', 'c', 'h', 'w', 'groups'] as const
const normChecked = [
  [1, 1, 1, 1, 1],
  [2, 6, 5, 7, 3],
  [1, 64, 8, 8, 32],
  [3, 33, 17, 9, 11],
]
const words = (n: number, heads: number, d: number, t: number): string => `${n} x ${heads} heads of ${d}, ${t} tokens`

/** By the name that `--as` knows them under. */
export const kernelKinds: Readonly<Record<string, KernelKind>> = {
  ...Object.fromEntries(
    [3, 1].flatMap((k) => convolutionParts.map((part) => convolution(k, part))).map((made) => [made.as, made]),
  ),
  matmul: kind(
    'matmul',
    ['m', 'n', 'k'],
    [
      [1, 1, 1],
      [33, 7, 65],
      [64, 128, 16],
      [5, 130, 3],
    ],
    ({ m, n, k }) => {
      const [a, b] = [input([m, k], 0), input([k, n], 1)]
      return {
        op: 'matmul',
        shape: `${m} x ${k} times ${k} x ${n}`,
        inputs: [a, b],
        output: [m, n],
        run: ([x, y]) => matmul(x, y),
        exact: product({ n, k }, a.data, b.data),
        tolerance: 4e-6,
      }
    },
  ),
  attention: kind('attention', attentionSizes, attentionChecked, ({ n, heads, d, t }) => {
    const qkv = input([n, 3 * heads * d, t], 0)
    return {
      op: 'attention',
      shape: words(n, heads, d, t),
      inputs: [qkv],
      output: [n, heads * d, t],
      run: ([x]) => attention(x, { heads, newOrder: true }),
      exact: attended({ heads, d, t }, qkv.data),
      tolerance: 2e-5,
    }
  }),
  // Output and log-sum-exp are inputs like others: any numbers do that leave the probabilities near 1 / t.
  'attention-gradient': kind('attention-gradient', attentionSizes, attentionChecked, ({ n, heads, d, t }) => {
    const [qkv, out, dOut] = [3, 1, 1].map((parts, j) => input([n, parts * heads * d, t], j))
    const logsumexp = input([n, heads, t], 3, 0.5, Math.log(t))
    return {
      op: 'attention gradient',
      shape: words(n, heads, d, t),
      inputs: [qkv, out, logsumexp, dOut],
      output: qkv.shape,
      run: (inputs) => applyOne(attentionGrad, { heads, newOrder: true }, inputs),
      exact: attentionGradient(
        { heads, d, t },
        [qkv, out, logsumexp, dOut].map(({ data }) => data),
      ),
      tolerance: 2e-5,
    }
  }),
  'group-norm': kind('group-norm', normSizes, normChecked, ({ n, c, h, w, groups }) => {
    const x = input([n, c, h, w], 0)
    const [weight, bias] = [1, 0].map((value) => ({ shape: [c], data: new Float32Array(c).fill(value) }))
    return {
      op: 'group norm, SiLU',
      shape: `${n} x ${c}, ${h}x${w}`,
      inputs: [x, weight, bias],
      output: x.shape,
      run: ([a, b, e]) => groupNorm(a, { groups, weight: b, bias: e, silu: true }),
      exact: normalised({ c, area: h * w, groups }, x.data),
      tolerance: 1e-5,
    }
  }),
  // Of the mean and of 1 / deviation any numbers do likewise.
  'group-norm-gradient': kind('group-norm-gradient', normSizes, normChecked, ({ n, c, h, w, groups }) => {
    const [x, dy] = [input([n, c, h, w], 0), input([n, c, h, w], 1)]
    const statistics = input([n, groups, 2], 2, 0.25, 1)
    const [weight, bias] = [input([c], 3, 0.5, 1), input([c], 4, 0.5)]
    const params = { groups, eps: 1e-5, silu: true, scaleShift: false }
    return {
      op: 'gradient of group norm, SiLU',
      shape: `${n} x ${c}, ${h}x${w}`,
      inputs: [x, dy, statistics, weight, bias],
      output: x.shape,
      run: (inputs) => applyOne(groupNormDataGrad, params, [...inputs, ...applyOp(groupNormSums, params, inputs)]),
      exact: normGradient(
        { c, area: h * w, groups },
        [x, dy, statistics, weight, bias].map(({ data }) => data),
      ),
      tolerance: 1e-5,
    }
  }),
  softmax: kind(
    'softmax',
    ['rows', 'columns'],
    [
      [1, 1],
      [3, 7],
      [65, 64],
      [2, 1031],
    ],
    ({ rows, columns }) => {
      const x = input([rows, columns], 0, 4)
      return {
        op: 'softmax',
        shape: `${rows} rows of ${columns}`,
        inputs: [x],
        output: x.shape,
        run: ([a]) => softmax(a),
        exact: softened({ columns }, x.data),
        tolerance: 1e-5,
      }
    },
  ),
  silu: kind('silu', ['count'], [[1], [63], [64], [1027]], ({ count }) => {
    const x = input([count], 0, 8)
    return {
      op: 'SiLU',
      shape: `${count}`,
      inputs: [x],
      output: x.shape,
      run: ([a]) => silu(a),
      exact: (i) => ({ value: x.data[i] / (1 + Math.exp(-x.data[i])), scale: 1e-3 + Math.abs(x.data[i]) }),
      tolerance: 1e-5,
    }
  }),
}

/** A case that is not made yet: its inputs may be large. */
export interface PlannedCase {
  readonly as: string
  readonly make: () => KernelCase
}

/** What a group of shapes asks of the kernels. */
export function plannedCases({ convolutions, products, attentions, norms }: ShapeGroup): PlannedCase[] {
  const plan = ({ as, at }: KernelKind, ...sizes: number[]): PlannedCase => ({ as, make: () => at(sizes) })
  const { matmul, softmax, silu, ...kinds } = kernelKinds
  return [
    ...convolutions.flatMap(({ n, cin, cout, h, w, k }) =>
      convolutionParts.map((part) => plan(convolution(k, part), n, cin, cout, h, w)),
    ),
    ...products.map(({ m, n, k }) => plan(matmul, m, n, k)),
    ...attentions.flatMap(({ n, heads, d, t }) => [
      plan(kinds.attention, n, heads, d, t),
      plan(kinds['attention-gradient'], n, heads, d, t),
      plan(softmax, n * t, t),
    ]),
    ...norms.flatMap(({ n, c, h, w, groups }) => [
      plan(kinds['group-norm'], n, c, h, w, groups),
      plan(kinds['group-norm-gradient'], n, c, h, w, groups),
      plan(silu, n * c * h * w),
    ]),
  ]
}

/** The same, made one by one. */
export function* casesOf(group: ShapeGroup): Generator<KernelCase> {
  for (const { make } of plannedCases(group)) yield make()
}

/**
 * The case of `--as NAME --shape …`, whose numbers are those that {@link kernelKinds} has for it.
 * @throws TweedieError 'option' for others
 */
export function caseOfUser(as: string, numbers: readonly number[]): KernelCase {
  const { sizes, at } = kernelKinds[as]
  const [c, groups] = ['c', 'groups'].map((name) => numbers[sizes.indexOf(name)])
  if (!areSizes(numbers, sizes.length) || (groups !== undefined && c % groups !== 0))
    throw new TweedieError(
      'option',
      `A shape of ${as} is ${sizes.join(',')}: ${sizes.length} whole numbers of 1 or more` +
        `${groups === undefined ? '' : ', the groups a divisor of c'}; found ${numbers.join(',')}.`,
    )
  return at(numbers)
}
