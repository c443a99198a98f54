/**
 * What an op is. One file under `ops/` holds one op: its typed parameters, its shape rule and its gradient side by side;
 * a backend adds the launch. {@link applyOp} is the only way an op runs: it checks shapes, allocates the outputs,
 * enqueues the launch, and tells the tape if an input has a watched ancestor.
 */
import { TweedieError } from '../errors.ts'
import type { Spec } from './backend.ts'
import type { DType } from './dtype.ts'
import { sizeOf, type Shape } from './shape.ts'
import type { AnyTensor, Tensor } from './tensor.ts'

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
  /** Sums `x` down to `shape`: the transpose of broadcasting. */
  sumTo(x: Tensor, shape: Shape): Tensor
}

export interface Saved {
  readonly inputs?: readonly number[]
  readonly outputs?: readonly number[]
}

export interface Op<P> {
  readonly name: string
  /** Shapes and types of the outputs; throws a `shape` error that says what was expected. */
  shape(params: P, inputs: readonly Spec[]): readonly Spec[]
  /** What the gradient rule will look at, given which inputs need a gradient. Nothing else is kept alive. */
  saves(params: P, needs: readonly boolean[]): Saved
  /** Gradients by the inputs in order; null where none is wanted or the input is no number. */
  gradient(context: GradientContext<P>): readonly (Tensor | null)[]
}

/** Declares an op; `noGradient` serves the ops that make up gradients themselves. */
export const defineOp = <P>(op: Op<P>): Op<P> => op

export function noGradient(name: string): { saves: () => Saved; gradient: () => never } {
  return {
    saves: () => ({}),
    gradient: () => {
      throw new TweedieError('unsupported', `${name} has no gradient: second derivatives are not implemented.`)
    },
  }
}

/** Runs `op` on the inputs' device and returns its outputs. */
export function applyOp<P>(op: Op<P>, params: P, inputs: readonly AnyTensor[]): AnyTensor[] {
  const device = inputs[0].device
  for (const t of inputs) {
    t.assertUsable(op.name)
    if (t.device !== device) throw new TweedieError('option', `${op.name}: its tensors live on different devices.`)
  }
  return device.runOp(op, params, inputs)
}

/** {@link applyOp} for ops with one output. */
export function applyOne<P, D extends DType = 'f32'>(op: Op<P>, params: P, inputs: readonly AnyTensor[]): Tensor<D> {
  return applyOp(op, params, inputs)[0] as Tensor<D>
}

export const bytesOf = (spec: Spec): number => sizeOf(spec.shape) * 4
