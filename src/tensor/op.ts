/**
 * What an op is: typed parameters, a shape rule and a gradient, side by side in a file under `ops/`; a backend adds the
 * launch. An op and those that its gradient is made of share a file, and some files have none, but functions made of
 * others' ops. {@link applyOp} checks an op's tensors and runs it on their device, which checks their shapes, allocates
 * the outputs, enqueues the launch and tells the tape (`Device.runOp`; an op without inputs goes there at once).
 */
import { TweedieError, unexpected } from '../errors.ts'
import type { Spec } from './backend.ts'
import type { DType } from './dtype.ts'
import { formatShape, sizeOf } from './shape.ts'
import { Tensor, type AnyTensor } from './tensor.ts'

/** What an op's gradient rule may look at. */
export interface GradientContext<P> {
  readonly params: P
  /** The forward pass's inputs; reading one that `saves` did not name throws. */
  input(index: number): AnyTensor
  inputSpec(index: number): Spec
  /** The forward pass's outputs; reading one that `saves` did not name throws. */
  output(index: number): AnyTensor
  /** The cotangent of output `index`, zeros if nothing depended on it. */
  cotangent(index?: number): Tensor
  /** Whether a gradient by input `index` is wanted. */
  needs(index: number): boolean
}

/** Which tensors of an op its gradient reads, by index: the tape keeps these alive. */
export interface Saved {
  readonly inputs?: readonly number[]
  readonly outputs?: readonly number[]
}

/**
 * An operation: a name that backends have a launch for, a rule for the shapes of its outputs, and a gradient. `P` is
 * what it is told beside its tensors.
 */
export interface Op<P> {
  readonly name: string
  /**
   * Types of the inputs, in order; what is not named is f32, and 'any' takes all as they come. A kernel reads the bits:
   * those of an integer, taken for a float, are a number next to 0.
   */
  readonly dtypes?: readonly DType[] | 'any'
  /**
   * Shapes and types of the outputs; throws a `shape` error that says what `user`, the op as it was called, expected.
   */
  shape(params: P, inputs: readonly Spec[], user: string): readonly Spec[]
  /** What the gradient rule will look at, given which inputs need a gradient. Nothing else is kept alive. */
  saves(params: P, needs: readonly boolean[]): Saved
  /**
   * Gradients by the inputs in order; null where none is wanted or the input is no number. Where the op broadcast an
   * input its gradient may have the broadcast shape: the tape sums it to the input's.
   */
  gradient(context: GradientContext<P>): readonly (Tensor | null)[]
}

/** Declares an op. */
export const defineOp = <P>(op: Op<P>): Op<P> => op

/** Name, `saves` and `gradient` of an op that gradients are made of, or that has none. */
export function noGradient(name: string): Pick<Op<unknown>, 'name' | 'saves' | 'gradient'> {
  return {
    name,
    saves: () => ({}),
    gradient: () => {
      throw new TweedieError('unsupported', `${name} has no gradient: second derivatives are not implemented.`)
    },
  }
}

/** Throws 'option', naming `user`, for what is no tensor. */
export function checkTensor(user: string, value: unknown): void {
  if (!(value instanceof Tensor)) throw unexpected(user, 'a tensor', value, 'device.tensor(values, shape) makes one.')
}

/** Throws 'shape', naming `user`, for a tensor of integers. */
export function checkFloat(user: string, t: AnyTensor): void {
  if (t.dtype !== 'f32') throw dtypeError(user, 'f32', t)
}

const dtypeError = (user: string, expected: DType, { shape, dtype }: AnyTensor): TweedieError =>
  new TweedieError(
    'shape',
    `${user}: expected a tensor of type ${expected}, found ${formatShape(shape)} of type ${dtype}. Convert ` +
      `it: cast(x, '${expected}').`,
  )

/**
 * Runs `op` on the inputs' device and returns its outputs. `user` is what errors call it: the function that was called.
 */
export function applyOp<P>(op: Op<P>, params: P, inputs: readonly AnyTensor[], user: string = op.name): AnyTensor[] {
  const { dtypes } = op
  for (let i = 0; i < inputs.length; i++) {
    const t = inputs[i]
    checkTensor(user, t)
    t.assertUsable(user)
    if (t.device !== inputs[0].device)
      throw new TweedieError('option', `${user}: its tensors live on different devices.`)
    const dtype = dtypes === 'any' ? t.dtype : (dtypes?.[i] ?? 'f32')
    if (t.dtype !== dtype) throw dtypeError(user, dtype, t)
  }
  if (inputs.length === 0) throw new TweedieError('option', `${user}: expected at least one tensor, found none.`)
  return inputs[0].device.runOp(op, params, inputs, user)
}

/** {@link applyOp} for ops with one output. */
export function applyOne<P, D extends DType = 'f32'>(
  op: Op<P>,
  params: P,
  inputs: readonly AnyTensor[],
  user?: string,
): Tensor<D> {
  return applyOp(op, params, inputs, user)[0] as Tensor<D>
}

/** Bytes of a tensor. */
export const bytesOf = (spec: Spec): number => sizeOf(spec.shape) * 4
