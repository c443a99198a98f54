import { asksForAwait, TweedieError } from '../errors.ts'
import type { AdapterDescription, Backend, BackendStats, GPUSharing, Recording, Spec, TuneOptions } from './backend.ts'
import { checkDType, type DType } from './dtype.ts'
import { kernelCall, type KernelOptions, type KernelParams } from './kernel.ts'
import { isAsked, now, type Live } from './live.ts'
import { bytesOf, checkTensor, noGradient, type Op } from './op.ts'
import { Program } from './program.ts'
import { requestBackend, type DeviceRequest } from './request.ts'
import { checkShape, formatShape, sizeOf, type Shape } from './shape.ts'
import type { Tape } from './tape.ts'
import type { Winners } from './remembered.ts'
import { newTensorId, Tensor, type AnyTensor } from './tensor.ts'
import { arrayOf, flatten, type Values } from './values.ts'
import { bufferUsage } from './webgpu/flags.ts'

/**
 * Where tensors are made, what computes them, and who disposes of them. A device is acquired with
 * {@link Device.request}, which loads the backend that it takes; a GPUDevice of the caller's is never destroyed. There
 * is no global state: tensors of one device do not meet those of another.
 *
 * ```ts
 * const device = await Device.request()
 * const x = device.tensor([1, 2, 3])
 * const y = device.scope(() => add(mul(x, 2), 1))   // the product is freed, y lives on
 * await y.read()                                    // Float32Array [3, 5, 7]
 * device.dispose()
 * ```
 */
export class Device {
  /** What runs the ops; `device.backend.kind` says which it is. */
  readonly backend: Backend
  /** What computes, and whether it is the CPU: no figure of a software adapter is a GPU figure. */
  readonly adapter: AdapterDescription
  readonly #scopes: Set<AnyTensor>[] = []
  #tape: Tape | null = null
  #disposed = false

  constructor(backend: Backend, adapter: AdapterDescription) {
    this.backend = backend
    this.adapter = adapter
  }

  /**
   * Acquires a device: of a hardware GPU where there is one, else of the CPU.
   *
   * @throws TweedieError `limit-exceeded` or `out-of-memory` if it cannot hold what `need` asks for,
   *   `webgpu-unavailable` if WebGPU was asked for and there is no adapter, `cpu-unavailable` if the CPU backend cannot
   *   run here (WebAssembly SIMD and workers are what it needs), `option` for a value that is none.
   */
  static request(options: DeviceRequest = {}): Promise<Device> {
    return asksForAwait(
      requestBackend(options).then(({ backend, adapter }) => new Device(backend, adapter)),
      'Device',
      Device,
    )
  }

  /** Counters of kernels, memory and work, for tests and benches. */
  get stats(): Readonly<BackendStats> {
    return this.backend.stats
  }

  /**
   * A tensor with these values, flat in row-major order or nested. `shape` defaults to that of the arrays. In
   * {@link record} the values may be a function, which is asked again at every replay.
   *
   * ```ts
   * device.tensor([[1, 2], [3, 4]])                        // f32 [2, 2]
   * device.tensor(new Float32Array(3072), [1, 3, 32, 32])
   * device.tensor([7, 2, 0], [3], 'i32')                   // labels
   * ```
   *
   * @throws TweedieError 'shape' for a number of values that `shape` does not hold; 'option' for what is no number, and
   *   for one that is not whole or out of range where the type is i32 or u32
   */
  tensor<D extends DType = 'f32'>(values: Live<Values>, shape?: Shape, dtype: D = 'f32' as D): Tensor<D> {
    const given = flatten('tensor', now(values))
    const spec = { shape: checkShape('tensor', shape ?? given.shape), dtype: checkDType('tensor', dtype) }
    if (given.flat.length !== sizeOf(spec.shape)) {
      throw new TweedieError(
        'shape',
        `tensor: ${formatShape(spec.shape)} holds ${sizeOf(spec.shape)} values, found ${given.flat.length}.`,
      )
    }
    const out = this.#allocate(spec, 'tensor') as Tensor<D>
    try {
      this.backend.write(
        out.storage,
        typeof values === 'function'
          ? () => arrayOf('tensor', flatten('tensor', values()).flat, dtype)
          : arrayOf('tensor', given.flat, dtype),
      )
      return out
    } catch (error) {
      out.dispose()
      throw error
    }
  }

  /**
   * Runs `f` and disposes of every tensor made in it, except those in its result, which pass to the enclosing scope.
   * `f` must be synchronous: what runs after an `await` would escape.
   */
  scope<T>(f: () => T): T {
    const mine = new Set<AnyTensor>()
    this.#scopes.push(mine)
    let kept: unknown = null
    try {
      const result = f()
      if (result instanceof Promise) {
        // It will fail at the first tensor it uses again, and nobody will be there to hear.
        result.catch(() => {})
        throw new TweedieError(
          'option',
          'scope: its function must not be async: what it makes after an await would belong to no scope.',
        )
      }
      kept = result
      return result
    } finally {
      this.#scopes.pop()
      for (const tensor of tensorsIn(kept)) if (mine.delete(tensor)) this.track(tensor)
      for (const tensor of mine) tensor.dispose()
    }
  }

  /**
   * Hands `tensor` to the innermost scope.
   * @internal
   */
  track<T extends AnyTensor>(tensor: T): T {
    this.#scopes.at(-1)?.add(tensor)
    return tensor
  }

  /** Takes `tensor` out of the innermost scope, so that the caller owns it. */
  keep<T extends AnyTensor>(tensor: T): T {
    this.#scopes.at(-1)?.delete(tensor)
    return tensor
  }

  /**
   * What records, while something is differentiated.
   * @internal
   */
  get tape(): Tape | null {
    return this.#tape
  }

  /**
   * Runs `f` with `tape` recording, or with none.
   * @internal
   */
  withTape<T>(tape: Tape | null, f: () => T): T {
    const outer = this.#tape
    this.#tape = tape
    try {
      return f()
    } finally {
      this.#tape = outer
    }
  }

  /**
   * Allocates an op's outputs, enqueues it and records it on the tape; ops themselves call `applyOp` of tensor/op.ts.
   * @internal
   */
  runOp<P>(op: Op<P>, params: P, inputs: readonly AnyTensor[], user: string = op.name): AnyTensor[] {
    if (this.#disposed) throw new TweedieError('disposed', `${user}: the device was disposed.`)
    const outputs: AnyTensor[] = []
    try {
      for (const spec of op.shape(params, inputs, user)) outputs.push(this.#allocate(spec, user, inputs))
      this.backend.run(op.name, params, inputs, outputs, user)
      this.#tape?.recordOp(op, params, inputs, outputs, user)
      return outputs
    } catch (error) {
      for (const tensor of outputs) tensor.dispose()
      throw error
    }
  }

  #allocate(spec: Spec, user: string, inputs: readonly Spec[] = []): AnyTensor {
    if (this.#disposed) throw new TweedieError('disposed', `${user}: the device was disposed.`)
    const reason = (): string =>
      `${user}(${inputs.map((t) => formatShape(t.shape)).join(', ')}) for a tensor ${formatShape(spec.shape)}`
    const storage = this.backend.allocate(bytesOf(spec), reason)
    return this.track(new Tensor(this, { storage, birth: newTensorId(), handles: 0 }, spec.shape, spec.dtype))
  }

  /**
   * The GPUDevice that computes: to make buffers and pipelines beside those of this library.
   *
   * @throws TweedieError 'unsupported' on the CPU backend
   */
  get gpuDevice(): GPUDevice {
    return this.gpuSharing('gpuDevice').gpuDevice
  }

  /**
   * What only a GPU's backend has; `user` is what the error names.
   * @internal
   */
  gpuSharing(user: string): GPUSharing {
    if (this.#disposed) throw new TweedieError('disposed', `${user}: the device was disposed.`)
    if (this.backend.gpu) return this.backend.gpu
    throw new TweedieError(
      'unsupported',
      `${user}: ${this.adapter.name} computes without WebGPU. Request the device with { backend: 'webgpu' }.`,
    )
  }

  /**
   * Enqueues a WGSL kernel of the caller's and returns its outputs, in order with the ops around it. It is compiled
   * once for each text; scopes own its outputs as they own an op's. Its gradient is the caller's to give, by
   * `customGradient`.
   *
   * ```ts
   * const [y] = device.kernel({
   *   wgsl: `
   *     @group(0) @binding(1) var<storage, read> x: array<f32>;
   *     @group(0) @binding(2) var<storage, read_write> y: array<f32>;
   *     @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
   *       if (id.x < arrayLength(&x)) { y[id.x] = x[id.x] * x[id.x]; }
   *     }`,
   *   inputs: [x],
   *   outputs: [x.shape],
   *   workgroups: Math.ceil(x.size / 64),
   * })
   * ```
   *
   * A tensor's buffer may be longer than its elements, by up to 63 of them: pass a count where that matters.
   *
   * @throws TweedieError 'unsupported' on the CPU backend; 'limit-exceeded' for more buffers or workgroups than the
   *   device allows; 'option' for a tensor that is read and written. What does not compile, 'shader-compile' with the
   *   line, comes with the next read or flush.
   */
  kernel(options: KernelOptions<AnyTensor>): AnyTensor[] {
    this.gpuSharing('kernel')
    const { name, inputs, params } = kernelCall(options, (value): value is AnyTensor => value instanceof Tensor)
    const { targets } = params
    for (const t of [...inputs, ...targets]) {
      if (t === null) continue
      checkTensor(name, t)
      t.assertUsable(name)
      if (t.device !== this) throw new TweedieError('option', `${name}: its tensors live on different devices.`)
    }
    const read = new Set(inputs.map((t) => t.storage))
    if (targets.some((t) => t !== null && read.has(t.storage)))
      throw new TweedieError('option', `${name}: a tensor is read and written. WebGPU allows a kernel one of them.`)
    const made = this.runOp(kernelOp, params, inputs, name)
    for (const t of targets) if (t !== null) t.storage.version++
    let next = 0
    return targets.map((t) => t ?? made[next++])
  }

  /**
   * A tensor in a buffer of the caller's, without a copy. The buffer belongs to {@link gpuDevice}, is used
   * as it is when ops run, and is never destroyed here. It must be unmapped and have the usages STORAGE, COPY_SRC and
   * COPY_DST; what was submitted to its queue before comes before the tensor's ops.
   *
   * @throws TweedieError 'unsupported' on the CPU backend; 'shape' for a buffer that is too small; 'option' for one
   *   that is mapped or lacks a usage; 'limit-exceeded' for one that no kernel can see whole
   */
  fromGPUBuffer<D extends DType = 'f32'>(buffer: GPUBuffer, shape: Shape, dtype: D = 'f32' as D): Tensor<D> {
    const user = 'fromGPUBuffer'
    const spec = { shape: checkShape(user, shape), dtype: checkDType(user, dtype) }
    const sharing = this.gpuSharing(user)
    if (buffer.size < bytesOf(spec))
      throw new TweedieError(
        'shape',
        `${user}: ${formatShape(spec.shape)} takes ${bytesOf(spec)} bytes, the buffer has ${buffer.size}.`,
      )
    const usages = bufferUsage.storage | bufferUsage.copySource | bufferUsage.copyTarget
    if ((buffer.usage & usages) !== usages || buffer.mapState !== 'unmapped')
      throw new TweedieError(
        'option',
        `${user}: expected an unmapped buffer with the usages STORAGE, COPY_SRC and COPY_DST, found one that is ` +
          `${buffer.mapState} with usage 0x${buffer.usage.toString(16)}.`,
      )
    const storage = sharing.adopt(buffer, bytesOf(spec))
    return this.track(new Tensor(this, { storage, birth: newTensorId(), handles: 0 }, spec.shape, dtype))
  }

  /**
   * Which kernel variant computes which shape, as {@link tune} found it now or in an earlier run on this adapter. The
   * variants add in different orders: two runs are equal to the bit where these entries are.
   */
  get kernels(): Map<string, string> {
    return this.backend.choices ?? new Map()
  }

  /**
   * Finds the fastest kernels for the ops that `work` runs, by measuring on this device, and remembers them for this
   * adapter and its driver (in the user's cache folder, in a browser in localStorage). It takes seconds for a network,
   * minutes on a software adapter. Results change in their last bits at most. A backend without a choice does nothing.
   *
   * ```ts
   * await device.tune(() => model.forward(x, timesteps))
   * ```
   */
  async tune(work: () => void, options: TuneOptions = {}): Promise<void> {
    await this.backend.tune?.(() => this.scope(() => void work()), options)
  }

  /** Whether {@link record} notes kernels and replays them here, or only calls its function again. */
  get replays(): boolean {
    return this.backend.record !== undefined
  }

  /**
   * Runs `f` for the step `first` and notes its kernels, so that {@link Program.replay} runs them for other steps
   * without it: a network's pass, a step of sampling or of training, whose ops cost the host more than their kernels
   * cost a GPU. The results are those of `f`, to the bit. A backend on which it does not pay calls `f` again.
   *
   * What differs from step to step is given as a function where a number would be frozen: the numbers of `map`, the
   * draw of `randomNormal`, the values of {@link tensor}. Such functions are asked at each replay, and only they may
   * ask for the step.
   *
   * ```ts
   * const times = expression(1, 1, ([x], [factor]) => f.mul(factor, x))
   * const x = device.tensor([1, 2, 3])
   * using program = device.record((step) => x.assign(map(times, [x], () => [1 / (1 + step())])), 0)
   * for (let step = 1; step < 10; step++) program.replay(step)
   * ```
   *
   * `f` only enqueues: it awaits nothing, reads nothing back and records no program itself; and it runs the same ops
   * on the same shapes whatever the step. It may overwrite tensors from outside (`assign`), and sees at each replay
   * what they hold then. Their memory, and that of the program, stays until it is disposed.
   *
   * @throws TweedieError 'unsupported' for what may not be done in `f`; what `f` throws
   */
  record<T>(f: (step: () => number) => T, first = 0): Program<T> {
    if (this.#tape)
      throw new TweedieError('unsupported', 'record: within grad nothing can be recorded; grad within record can.')
    let current = first
    const step = (): number => {
      if (isAsked()) return current
      throw new TweedieError(
        'option',
        'record: the step was asked for while the ops are noted, where its number would be frozen: ask in a function ' +
          'that is given in the place of numbers, as in map(expression, [x], () => [table[step()]]).',
      )
    }
    const run = (): { result: T; made: Set<AnyTensor> } => {
      const made = new Set<AnyTensor>()
      this.#scopes.push(made)
      try {
        return { result: this.scope(() => f(step)), made }
      } finally {
        this.#scopes.pop()
      }
    }
    let last: ReturnType<typeof run> | null = null
    const free = (): void => {
      for (const tensor of last?.made ?? []) tensor.dispose()
    }
    const again = (): T => {
      free()
      last = run()
      return last.result
    }
    let recording: Recording | undefined
    try {
      recording = this.backend.record?.(again)
    } catch (error) {
      free()
      throw error
    }
    if (!recording) again()
    return new Program(
      (next) => {
        current = next
        if (!recording) return again()
        recording.replay()
        return last!.result
      },
      () => {
        free()
        recording?.dispose()
      },
      last!.result,
    )
  }

  /**
   * What {@link tune} found on this adapter, now or in an earlier run, to be kept as JSON: the fastest kernel of each
   * choice and a hash of the text of all that were measured, by which it is known to hold. From what users send comes
   * what an adapter of their kind takes unmeasured (`src/tensor/webgpu/shipped-winners.ts`).
   */
  get winners(): Winners {
    return Object.fromEntries(this.backend.winners ?? [])
  }

  /** Resolves when everything enqueued so far has been computed; rejects with the first error since the last wait. */
  flush(): Promise<void> {
    return this.backend.flush()
  }

  /** Frees all memory. Tensors of this device are unusable afterwards. Disposing twice does nothing. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.backend.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Which backend computes on what, as in `Device(cpu, CPU, 2 threads, SIMD)`. */
  toString(): string {
    return `Device(${this.backend.kind}, ${this.adapter.name})`
  }

  /** What Node, Deno and Bun print. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/** Kernels of callers' are no row of the op table: the CPU backend runs no WGSL. */
const kernelOp: Op<KernelParams> = {
  ...noGradient('kernel'),
  shape: ({ specs }) => specs,
  gradient: () => {
    throw new TweedieError('unsupported', 'kernel: nobody knows its gradient. Give it one with customGradient.')
  },
}

/** The tensors in `value`: itself, or in the arrays, maps and plain objects it is made of. */
function* tensorsIn(value: unknown): Generator<AnyTensor> {
  if (value instanceof Tensor) yield value
  else if (Array.isArray(value) || value instanceof Map) for (const item of value.values()) yield* tensorsIn(item)
  else if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) yield* tensorsIn(item)
  }
}
