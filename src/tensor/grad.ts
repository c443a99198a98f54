/**
 * What a caller differentiates with: {@link grad}, {@link stopGradient}, {@link customGradient} and {@link recompute}.
 */
import { TweedieError, unexpected } from '../errors.ts'
import type { Device } from './device.ts'
import { checkFloat, checkTensor } from './op.ts'
import { checkArray, formatShape, sameShape, shapeError } from './shape.ts'
import { Tape } from './tape.ts'
import { full } from './ops/map.ts'
import { Tensor, type AnyTensor } from './tensor.ts'

/** What {@link grad} found: the caller's, as everything that an enclosing scope does not free. */
export interface GradResult<T> {
  readonly value: T
  /** In the order of `wrt`; zeros where the value does not depend on the tensor. */
  readonly gradients: Tensor[]
  /** Bytes of intermediate results that had to live from the forward to the backward pass. */
  readonly savedBytes: number
}

/**
 * The value of `f` and the gradient of the sum of its elements by each tensor of `wrt`.
 * `cotangent`, of the value's shape, weighs the elements (default: all one). What `f` makes besides its value is freed,
 * as in {@link Device.scope}.
 *
 * @throws TweedieError `unsupported` if a tensor the gradient needs was overwritten meanwhile, and for a second
 * derivative: a grad within a grad through a tensor that the outer one watches.
 */
export function grad<T extends Tensor>(f: () => T, wrt: readonly Tensor[], cotangent?: Tensor): GradResult<T> {
  checkArray('grad', 'tensors to differentiate by', wrt)
  if (wrt.length === 0) throw new TweedieError('option', 'grad: name at least one tensor to differentiate by.')
  for (const t of cotangent ? [...wrt, cotangent] : wrt) {
    checkTensor('grad', t)
    t.assertUsable('grad')
    checkFloat('grad', t)
  }
  const device = wrt[0].device
  const tape = new Tape(device, wrt, { outer: device.tape })
  try {
    return device.scope(() => {
      const value = device.withTape(tape, () => device.scope(f))
      checkTensor('grad', value)
      checkFloat('grad', value)
      if (cotangent && !sameShape(cotangent.shape, value.shape))
        throw shapeError('grad', `a cotangent ${formatShape(value.shape)}`, cotangent.shape)
      const savedBytes = tape.savedBytes
      const seed = cotangent ?? full(device, value.shape, 1)
      const found = tape.backward(
        new Map([[value.id, seed]]),
        wrt.map((t) => t.id),
      )
      const gradients = found.map((gradient, i) => (gradient ? device.track(gradient) : full(device, wrt[i].shape, 0)))
      return { value, gradients, savedBytes }
    })
  } finally {
    tape.release()
  }
}

/** The same value, through which no gradient flows. */
export function stopGradient<T extends AnyTensor>(x: T): T {
  checkTensor('stopGradient', x)
  const fresh = new Tensor(x.device, x.assertUsable('stopGradient'), x.shape, x.dtype)
  return x.device.track(fresh) as AnyTensor as T
}

/** Runs `f` without recording: nothing in it is differentiated or saved. */
export function noGrad<T>(device: Device, f: () => T): T {
  if (device?.tape === undefined || typeof f !== 'function')
    throw unexpected('noGrad', 'a device and a function', device?.tape === undefined ? device : f)
  return device.tape ? device.tape.pause(f) : f()
}

/**
 * `f(...inputs)` with a gradient of the caller's own: `backward(cotangent, ...inputs)` returns one gradient for each
 * input in order, null for none. Where `f` broadcast an input its gradient may have the broadcast shape: it is summed
 * to the input's. Only the inputs stay alive.
 *
 * ```ts
 * // x [N, C] + bias [C], whose gradient by the bias is that by the sum, added up over N.
 * const y = customGradient((x, bias) => add(x, bias), (cotangent) => [cotangent, cotangent], [x, bias])
 * ```
 *
 * @throws TweedieError (in the backward pass) `option` unless `backward` returns a gradient or null for each input,
 *   `shape` for a gradient of integers, or of a shape to which its input's does not broadcast
 */
export function customGradient(
  f: (...inputs: Tensor[]) => Tensor,
  backward: (cotangent: Tensor, ...inputs: Tensor[]) => readonly (Tensor | null)[],
  inputs: readonly Tensor[],
): Tensor {
  const device = deviceOf('customGradient', inputs)
  const tape = device.tape
  if (!tape || !inputs.some((t) => tape.watches(t.id))) return device.scope(() => f(...inputs))
  // A value of its own, also where f returns one of its inputs.
  const output = tape.pause(() => device.scope(() => stopGradient(f(...inputs))))
  const held = inputs.map((t) => tape.hold(t))
  tape.record({
    name: 'customGradient',
    outputs: [{ id: output.id, spec: output }],
    backward: (cotangent, addGradient) => {
      const saved = held.map((t) => t.look('customGradient'))
      const gradients = backward(cotangent(0), ...saved)
      checkArray('customGradient', 'the gradients by its inputs', gradients)
      if (gradients.length !== inputs.length) {
        throw new TweedieError(
          'option',
          `customGradient: expected a gradient or null for each of its ${inputs.length} inputs, ` +
            `found ${gradients.length}.`,
        )
      }
      gradients.forEach((gradient, i) => gradient && addGradient(inputs[i].id, gradient))
    },
    release: () => held.forEach((t) => t.release()),
  })
  return output
}

/**
 * `f(...inputs)`, of which only the inputs stay alive: the backward pass computes it again. Gradient checkpointing,
 * rematerialization: `torch.utils.checkpoint`, `jax.checkpoint`, `tf.recompute_grad`.
 *
 * Gradients flow to the inputs and to whatever else `f` reads. What `f` reads and is no input must still be alive in
 * the backward pass, as parameters are.
 */
export function recompute(f: (...inputs: Tensor[]) => Tensor, inputs: readonly Tensor[]): Tensor {
  const device = deviceOf('recompute', inputs)
  const tape = device.tape
  if (!tape || tape.paused) return device.scope(() => f(...inputs))
  for (const t of inputs) tape.watches(t.id)
  const wanted = tape.watched
  const probe = new Tape(device, wanted, { dry: true })
  const [output, depends] = device.withTape(probe, () =>
    device.scope(() => {
      const result = f(...inputs)
      return [stopGradient(result), probe.watches(result.id)] as const
    }),
  )
  if (!depends) return output
  const held = inputs.map((t) => tape.hold(t))
  tape.record({
    name: 'recompute',
    outputs: [{ id: output.id, spec: output }],
    backward: (cotangent, addGradient) => {
      const inner = new Tape(device, wanted)
      try {
        const again = device.withTape(inner, () => device.scope(() => f(...held.map((t) => t.look('recompute')))))
        inner
          .backward(
            new Map([[again.id, cotangent(0)]]),
            wanted.map(({ id }) => id),
          )
          .forEach((gradient, i) => {
            if (gradient) addGradient(wanted[i].id, device.track(gradient))
          })
      } catch (error) {
        if (!(error instanceof TweedieError) || error.code !== 'disposed') throw error
        throw new TweedieError(
          'disposed',
          'recompute: its function cannot run again, it reads a tensor that was freed since: name it among the ' +
            `inputs. (${error.message})`,
          { cause: error },
        )
      } finally {
        inner.release()
      }
    },
    release: () => held.forEach((t) => t.release()),
  })
  return output
}

function deviceOf(user: string, inputs: readonly Tensor[]): Device {
  checkArray(user, 'its inputs', inputs)
  for (const t of inputs) checkTensor(user, t)
  if (inputs.length === 0) throw new TweedieError('option', `${user}: expected at least one input, found none.`)
  return inputs[0].device
}
