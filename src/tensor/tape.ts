import { TweedieError } from '../errors.ts'
import type { Spec } from './backend.ts'
import type { Device } from './device.ts'
import { checkFloat, checkTensor, type GradientContext, type Op } from './op.ts'
import { add } from './ops/arithmetic.ts'
import { full } from './ops/map.ts'
import { sumTo } from './ops/reduce.ts'
import { formatShape, shapeError, stretchesTo, type Shape } from './shape.ts'
import { newTensorId, type AnyTensor, type Tensor } from './tensor.ts'

/**
 * Takes a gradient by the tensor of an id from a backward rule: of its shape, or of one to which that broadcasts, which
 * is summed. One by a tensor that is not watched is let go.
 */
export type AddGradient = (id: number, gradient: Tensor) => void

/** A step that the backward pass goes back over. */
export interface TapeNode {
  readonly name: string
  readonly outputs: readonly { readonly id: number; readonly spec: Spec }[]
  backward(cotangent: (index: number) => Tensor, addGradient: AddGradient): void
  release(): void
}

/** A tensor through which a gradient must flow. */
export interface Watched {
  readonly id: number
  readonly shape: Shape
}

/** A tensor the tape keeps alive for a gradient rule. */
export interface Held<T extends AnyTensor = AnyTensor> {
  /** The tensor; throws if it was overwritten since, naming `user`. */
  look(user: string): T
  release(): void
}

/**
 * Reverse-mode differentiation. The watched tensors are named before the forward pass, so the tape knows from the first
 * op on what can matter: an op without a watched ancestor leaves no trace, and of the others only what their gradient
 * rule will look at stays alive (the input gradient of a U-Net keeps no convolution input, because that gradient needs
 * the weights alone). The backward pass walks the tape once, freeing as it goes, and sums every gradient to the shape
 * of its tensor, so that no rule undoes broadcasting.
 *
 * ```ts
 * const { value, gradients } = grad(() => sum(square(x)), [x])   // gradients[0] = 2x
 * ```
 */
export class Tape {
  readonly device: Device
  /** Shapes by id. */
  readonly #watched: Map<number, Shape>
  readonly #nodes: TapeNode[] = []
  readonly #outer: Tape | null
  readonly #dry: boolean
  #paused = 0

  /** Memory born earlier was there before the forward pass: the tape only borrows it. */
  readonly #firstId: number
  readonly #saved = new Map<object, number>()

  /**
   * `watched` are the tensors named before the forward pass. What `outer` watches may not enter: nobody would see it
   * pass. A `dry` tape only finds out what depends on them.
   */
  constructor(
    device: Device,
    watched: readonly Watched[],
    { outer = null, dry = false }: { outer?: Tape | null; dry?: boolean } = {},
  ) {
    this.device = device
    this.#watched = new Map(watched.map(({ id, shape }) => [id, shape]))
    this.#outer = outer
    this.#dry = dry
    this.#firstId = newTensorId()
  }

  /** Every tensor through which a gradient must flow, as known so far. */
  get watched(): Watched[] {
    return Array.from(this.#watched, ([id, shape]) => ({ id, shape }))
  }

  get paused(): boolean {
    return this.#paused > 0
  }

  /** Whether a gradient must flow through the tensor with this id. */
  watches(id: number): boolean {
    if (this.#paused > 0) return false
    if (this.#outer?.watches(id)) {
      throw new TweedieError(
        'unsupported',
        'grad: a grad within a grad computes with a tensor that the outer one watches, but second derivatives ' +
          'are not implemented. If its results are constants to the outer one, put it into noGrad.',
      )
    }
    return this.#watched.has(id)
  }

  /** Bytes of intermediate results the tape keeps alive, counting each piece of memory once. */
  get savedBytes(): number {
    return [...this.#saved.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  /** Runs `f` without recording. */
  pause<T>(f: () => T): T {
    this.#paused++
    try {
      return f()
    } finally {
      this.#paused--
    }
  }

  recordOp<P>(op: Op<P>, params: P, inputs: readonly AnyTensor[], outputs: readonly AnyTensor[], user: string): void {
    const needs = inputs.map((t) => t.dtype === 'f32' && this.watches(t.id))
    if (!needs.includes(true)) return
    const wanted = op.saves(params, needs)
    const save = (list: readonly AnyTensor[], indices: readonly number[] = []): Map<number, Held> =>
      new Map(indices.map((i) => [i, this.hold(list[i])]))
    const savedInputs = save(inputs, wanted.inputs)
    const savedOutputs = save(outputs, wanted.outputs)
    const inputSpecs = inputs.map(({ shape, dtype }): Spec => ({ shape, dtype }))
    const inputIds = inputs.map((t) => t.id)
    const look =
      (saved: ReadonlyMap<number, Held>, what: string) =>
      (index: number): AnyTensor => {
        const entry = saved.get(index)
        if (!entry)
          throw new TweedieError(
            'unsupported',
            `${op.name}: its gradient reads ${what} ${index}, which it did not save.`,
          )
        return entry.look(user)
      }
    this.record({
      name: user,
      outputs: outputs.map((t) => ({ id: t.id, spec: { shape: t.shape, dtype: t.dtype } })),
      backward: (cotangent, addGradient) => {
        const context: GradientContext<P> = {
          params,
          input: look(savedInputs, 'input'),
          output: look(savedOutputs, 'output'),
          inputSpec: (index) => inputSpecs[index],
          cotangent: (index = 0) => cotangent(index),
          needs: (index) => needs[index],
        }
        op.gradient(context).forEach((gradient, i) => {
          if (gradient) addGradient(inputIds[i], gradient)
        })
      },
      release: () => {
        for (const held of [...savedInputs.values(), ...savedOutputs.values()]) held.release()
      },
    })
  }

  /** Adds a node whose outputs are watched from now on. */
  record(node: TapeNode): void {
    for (const { id, spec } of node.outputs) if (spec.dtype === 'f32') this.#watched.set(id, spec.shape)
    if (this.#dry) node.release()
    else this.#nodes.push(node)
  }

  /** Keeps `tensor` alive until its node is released. */
  hold<T extends AnyTensor>(tensor: T): Held<T> {
    const { storage, birth } = tensor.assertUsable('The tape')
    if (birth > this.#firstId) this.#saved.set(storage, storage.bytes)
    const handle = tensor.alias() as AnyTensor as T
    const { version } = storage
    return {
      look: (user) => {
        if (storage.version === version) return handle
        throw new TweedieError(
          'unsupported',
          `${user}: a tensor of shape ${formatShape(handle.shape)} was overwritten between the ` +
            'forward and the backward pass.',
        )
      },
      release: () => handle.dispose(),
    }
  }

  /**
   * Walks the tape backwards from `seeds` (tensor id to cotangent) and returns the gradients by `wanted`, null for a
   * tensor the seeds do not depend on. Every node is released, whatever happens.
   */
  backward(seeds: ReadonlyMap<number, Tensor>, wanted: readonly number[]): (Tensor | null)[] {
    const gradients = new Map<number, Tensor>()
    const accumulate = (user: string, id: number, given: Tensor): void => {
      const shape = this.#watched.get(id)
      if (!shape) return
      checkTensor(user, given)
      checkFloat(user, given)
      if (!stretchesTo(shape, given.shape))
        throw shapeError(
          user,
          `a gradient of its input's shape ${formatShape(shape)}, or of one to which that broadcasts`,
          given.shape,
        )
      const gradient = sumTo(given, shape)
      const sofar = gradients.get(id)
      if (!sofar) return void gradients.set(id, gradient.alias())
      gradients.set(id, this.device.scope(() => add(sofar, gradient)).alias())
      sofar.dispose()
    }
    const keep = new Set(wanted)
    try {
      for (const [id, seed] of seeds) gradients.set(id, seed.alias())
      this.pause(() => {
        while (this.#nodes.length > 0) {
          const node = this.#nodes.pop() as TapeNode
          try {
            if (node.outputs.some(({ id }) => gradients.has(id))) {
              this.device.scope(() => {
                const cotangent = (index: number): Tensor => {
                  const { id, spec } = node.outputs[index]
                  return gradients.get(id) ?? full(this.device, spec.shape, 0)
                }
                node.backward(cotangent, (id, gradient) => accumulate(node.name, id, gradient))
              })
              for (const { id } of node.outputs) {
                if (keep.has(id)) continue
                gradients.get(id)?.dispose()
                gradients.delete(id)
              }
            }
          } finally {
            node.release()
          }
        }
      })
      return wanted.map((id) => gradients.get(id)?.alias() ?? null)
    } finally {
      this.release()
      for (const gradient of gradients.values()) gradient.dispose()
    }
  }

  /** Lets go of everything saved. */
  release(): void {
    for (const node of this.#nodes.splice(0)) node.release()
    this.#saved.clear()
  }
}
