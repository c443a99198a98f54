import './host-types.ts'
import { TweedieError, unexpected } from '../errors.ts'
import type { Spec, Storage } from './backend.ts'
import type { Device } from './device.ts'
import { viewAs, type ArrayOf, type DType } from './dtype.ts'
import { formatShape, sameShape, shapeError, sizeOf, type Shape } from './shape.ts'
import { arrayOf, flatten, type Values } from './values.ts'

/** A tensor of whatever type. */
export type AnyTensor = Tensor<DType>

/** Memory shared by the handles on it. */
export interface SharedStorage {
  storage: Storage
  /** What it is a piece of. */
  whole?: SharedStorage
  /** Grows like tensor ids: tells what was there before a forward pass from what was made in it. */
  readonly birth: number
  handles: number
}

let lastId = 0

/** Ids grow: a larger one is of a younger tensor. */
export const newTensorId = (): number => ++lastId

/**
 * A shape and a type over a piece of a device's memory, made by {@link Device.tensor} and by operations. Operations are
 * functions (`add(a, b)`), never consume their arguments, and only enqueue. Memory is freed when the last handle on it
 * is disposed: by `using`, by `dispose()`, or by the {@link Device.scope} in which the tensor was made. There is no
 * garbage collection to wait for.
 *
 * ```ts
 * const x = device.tensor([1, 2, 3], [3])
 * const y = mul(x, 2)
 * await y.read()   // Float32Array [2, 4, 6]
 * ```
 */
export class Tensor<D extends DType = 'f32'> implements Spec {
  /** Where it lives. */
  readonly device: Device
  /** Extents of its axes; elements are dense and row-major. */
  readonly shape: Shape
  /** Type of its elements. */
  readonly dtype: D
  /**
   * Identity for the tape: handles on the same value made by `alias` share it.
   * @internal
   */
  readonly id: number
  #shared: SharedStorage | null

  /** Made by {@link Device}, not by users. */
  constructor(device: Device, shared: SharedStorage, shape: Shape, dtype: D, id = newTensorId()) {
    this.device = device
    this.#shared = shared
    this.shape = shape
    this.dtype = dtype
    this.id = id
    shared.handles++
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape)
  }

  /** This handle was disposed: it cannot be used any more. */
  get disposed(): boolean {
    return this.#shared === null
  }

  /**
   * The backend's memory; throws `disposed`.
   * @internal
   */
  get storage(): Storage {
    return this.assertUsable('A tensor').storage
  }

  /**
   * Throws `disposed` naming `user` if this handle was disposed.
   * @internal
   */
  assertUsable(user: string): SharedStorage {
    if (this.#shared === null) {
      throw new TweedieError(
        'disposed',
        `${user}: a tensor of shape ${formatShape(this.shape)} was used after it was disposed. A device.scope ` +
          'frees what is made in it, but for its result; device.keep(x) keeps more.',
      )
    }
    return this.#shared
  }

  /**
   * A second handle on the same memory, with another shape of the same size if one is given. It belongs to no scope,
   * and to the tape it is the same value unless the shape differs.
   */
  alias(shape: Shape = this.shape, id: number = this.id): Tensor<D> {
    if (shape !== this.shape && sizeOf(shape) !== this.size)
      throw shapeError('alias', `a shape of ${this.size} elements`, shape)
    return new Tensor(this.device, this.assertUsable('alias'), shape, this.dtype, id)
  }

  /**
   * Copies the values to the host, flat in row-major order, once everything enqueued before has run.
   *
   * @throws TweedieError 'disposed' where it was disposed; what the device met since the last wait
   */
  async read(): Promise<ArrayOf[D]> {
    const bytes = await this.device.backend.read(this.assertUsable('read').storage, this.size * 4)
    return viewAs(bytes, this.dtype)
  }

  /**
   * The GPUBuffer it lives in, for commands of the caller's on `device.gpuDevice`, once everything enqueued before is
   * submitted: what the caller submits then runs after it, and before the ops that are called later. Elements begin at
   * byte 0; the buffer may be longer. It is the tensor's until that is disposed of. After writing into it, do not take
   * a gradient through ops that ran before.
   *
   * @throws TweedieError 'unsupported' on the CPU backend, 'disposed' where it was disposed
   */
  async gpuBuffer(): Promise<GPUBuffer> {
    const shared = this.assertUsable('gpuBuffer')
    const sharing = this.device.gpuSharing('gpuBuffer')
    if (shared.whole) this.moveTo(this.#alone())
    await sharing.submit()
    return sharing.bufferOf(shared.storage)
  }

  /**
   * Overwrites the values, flat in row-major order or nested as for {@link Device.tensor}, in order
   * with the ops around it.
   */
  write(values: Values): void {
    const { flat } = flatten('write', values)
    if (flat.length !== this.size) {
      throw new TweedieError(
        'shape',
        `write: expected ${this.size} values for ${formatShape(this.shape)}, found ${flat.length}.`,
      )
    }
    const { storage } = this.assertUsable('write')
    this.device.backend.write(storage, arrayOf('write', flat, this.dtype))
    storage.version++
  }

  /** Overwrites the values with those of `source`, of the same shape and type, in order with the ops around it. */
  assign(source: Tensor<D>): void {
    if (!(source instanceof Tensor)) throw unexpected('assign', 'a tensor', source, 'write takes values.')
    if (!sameShape(source.shape, this.shape)) throw shapeError('assign', formatShape(this.shape), source.shape)
    if (source.dtype !== this.dtype)
      throw new TweedieError('shape', `assign: expected ${this.dtype}, found ${source.dtype}.`)
    if (source.device !== this.device)
      throw new TweedieError('option', 'assign: its tensors live on different devices.')
    const { storage } = this.assertUsable('assign')
    if (source.storage === storage) return
    this.device.backend.copy(source.storage, storage, this.size * 4)
    storage.version++
  }

  /**
   * A tensor in this one's memory, from element `offset` on, a multiple of 64: what is written to
   * either shows in both, though a write to the part not to the tape. The memory is freed with the last of both.
   * @internal
   */
  part(offset: number, shape: Shape): Tensor<D> {
    const whole = this.assertUsable('part')
    whole.handles++
    const storage = this.device.backend.part(whole.storage, 4 * offset, 4 * sizeOf(shape))
    return new Tensor(this.device, { storage, whole, birth: newTensorId(), handles: 0 }, shape, this.dtype)
  }

  /**
   * Takes the values along into the memory of `place`, a tensor of the same shape, which is not to be used any more,
   * and lives there from now on with all handles on them.
   * @internal
   */
  moveTo(place: Tensor<D>): void {
    const shared = this.assertUsable('moveTo')
    place.assign(this)
    shared.storage.moved = true
    this.#free(shared)
    const { storage, whole } = place.assertUsable('moveTo')
    Object.assign(shared, { storage, whole })
    place.#shared = null
  }

  /** Frees the memory if this is the last handle on it. Disposing twice does nothing. */
  dispose(): void {
    const shared = this.#shared
    if (shared === null) return
    this.#shared = null
    if (--shared.handles === 0) this.#free(shared)
  }

  /** A tensor of this shape in memory of its own. */
  #alone(): Tensor<D> {
    const storage = this.device.backend.allocate(4 * this.size, () => `gpuBuffer of ${formatShape(this.shape)}`)
    return new Tensor(this.device, { storage, birth: newTensorId(), handles: 0 }, this.shape, this.dtype)
  }

  #free({ storage, whole }: SharedStorage): void {
    this.device.backend.free(storage)
    if (whole && --whole.handles === 0) this.#free(whole)
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Type, shape and device, as in `Tensor(f32 [1, 3, 32, 32] on cpu)`. The values come by {@link read}. */
  toString(): string {
    return (
      `Tensor(${this.dtype} ${formatShape(this.shape)}` +
      `${this.disposed ? ', disposed' : ` on ${this.device.backend.kind}`})`
    )
  }

  /** What Node, Deno and Bun print. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }

  /** In a template a tensor is its text. As a number it would be NaN, without a word. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return this.toString()
    throw new TweedieError(
      'option',
      `${this}: operators of JavaScript do not compute with tensors. Use functions: add(x, y), mul(x, 2).`,
    )
  }
}
