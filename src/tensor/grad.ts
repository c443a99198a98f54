/**
 * What a caller differentiates with: {@link grad}, {@link stopGradient}, {@link customGradient} and {@link checkpoint}.
 */
import { TweedieError } from '../errors.ts'
import { Tape } from './tape.ts'
import { full } from './ops/map.ts'
import { Tensor, type AnyTensor } from './tensor.ts'

export interface GradResult<T> {
  readonly value: T
  /** In the order of `wrt`; zeros where the value does not depend on the tensor. */
  readonly gradients: Tensor[]
  /** Bytes of intermediate results that had to live from the forward to the backward pass. */
  readonly savedBytes: number
}

/**
 * The value of `f` and the gradient of the sum of its elements by each tensor of `wrt`.
 * `cotangent`, of the value's shape, weighs the elements (default: all one).
 */
export function grad<T extends Tensor>(f: () => T, wrt: readonly Tensor[], cotangent?: Tensor): GradResult<T> {
  if (wrt.length === 0) throw new TweedieError('option', 'grad: name at least one tensor to differentiate by.')
  const device = wrt[0].device
  const tape = new Tape(device, wrt.map((t) => t.id))
  try {
    const value = device.withTape(tape, f)
    const savedBytes = tape.savedBytes
    const gradients = device.scope(() => {
      const seed = cotangent ?? full(device, value.shape, 1)
      const found = tape.backward(new Map([[value.id, seed]]), wrt.map((t) => t.id))
      return found.map((gradient, i) => (gradient ? device.track(gradient) : full(device, wrt[i].shape, 0)))
    })
    return { value, gradients, savedBytes }
  } finally {
    tape.release()
  }
}

/** The same value, through which no gradient flows. */
export function stopGradient<T extends AnyTensor>(x: T): T {
  const fresh = new Tensor(x.device, x.assertUsable('stopGradient'), x.shape, x.dtype)
  return x.device.track(fresh) as AnyTensor as T
}

/** Runs `f` without recording: nothing in it is differentiated or saved. */
export function noGrad<T>(device: { readonly tape: Tape | null }, f: () => T): T {
  return device.tape ? device.tape.pause(f) : f()
}

/**
 * `f(...inputs)` with a gradient of the caller's own: `backward(cotangent, ...inputs)` returns the gradients by the
 * inputs in order, null for none. Only the inputs stay alive.
 */
export function customGradient(
  f: (...inputs: Tensor[]) => Tensor,
  backward: (cotangent: Tensor, ...inputs: Tensor[]) => readonly (Tensor | null)[],
  inputs: readonly Tensor[],
): Tensor {
  const { device } = inputs[0]
  const tape = device.tape
  if (!tape || !inputs.some((t) => tape.watches(t.id))) return f(...inputs)
  const output = tape.pause(() => device.scope(() => f(...inputs)))
  const saved = inputs.map((t) => tape.hold(t))
  tape.record({
    name: 'customGradient',
    outputs: [{ id: output.id, spec: output }],
    backward: (cotangent, addGradient) => {
      backward(cotangent(0), ...saved).forEach((gradient, i) => gradient && addGradient(inputs[i].id, gradient))
    },
    release: () => saved.forEach((t) => t.dispose()),
  })
  return output
}

/**
 * `f(...inputs)`, of which only the inputs stay alive: the backward pass computes it again (gradient checkpointing).
 * Gradients flow to the inputs and to every tensor named in the enclosing {@link grad}.
 */
export function checkpoint(f: (...inputs: Tensor[]) => Tensor, inputs: readonly Tensor[]): Tensor {
  const { device } = inputs[0]
  const tape = device.tape
  if (!tape || tape.paused) return f(...inputs)
  const output = tape.pause(() => device.scope(() => f(...inputs)))
  const saved = inputs.map((t) => tape.hold(t))
  const wanted = [...new Set([...inputs.filter((t) => tape.watches(t.id)).map((t) => t.id), ...tape.leaves])]
  tape.record({
    name: 'checkpoint',
    outputs: [{ id: output.id, spec: output }],
    backward: (cotangent, addGradient) => {
      const inner = new Tape(device, wanted)
      const again = device.withTape(inner, () => f(...saved))
      inner.backward(new Map([[again.id, cotangent(0)]]), wanted).forEach((gradient, i) => {
        if (gradient) addGradient(wanted[i], device.track(gradient))
      })
    },
    release: () => saved.forEach((t) => t.dispose()),
  })
  return output
}
