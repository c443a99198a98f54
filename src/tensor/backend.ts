import type { DType } from './dtype.ts'
import type { Live } from './live.ts'
import type { Shape } from './shape.ts'
import type { Winner } from './remembered.ts'

/** A piece of a backend's memory. `version` grows with every write, so that an overwritten value can be told. */
export interface Storage {
  readonly bytes: number
  version: number
  /** Its values live elsewhere from now on; what was recorded with it would go on with the old ones. */
  moved?: boolean
}

/** `part` as a part of `whole`, whose version grows with that of the whole, too. */
export function partOf<S extends Storage>(whole: Storage, part: S): S {
  let own = part.version
  return Object.defineProperty(part, 'version', {
    get: () => whole.version + own,
    set: (version: number) => (own = version - whole.version),
  })
}

/** Where a piece of a storage may begin: minStorageBufferOffsetAlignment of WebGPU by default. */
export const partAlignment = 256

/** What a launch sees of a tensor: dense, row-major, from the start of its storage. */
export interface View {
  readonly storage: Storage
  readonly shape: Shape
  readonly dtype: DType
}

/** Shape and type of a tensor that does not exist yet: what an op's shape rule returns. */
export interface Spec {
  readonly shape: Shape
  readonly dtype: DType
}

/** Counters for tests and benches. None of them costs a synchronisation. */
export interface BackendStats {
  /** Kernels enqueued, command buffers submitted, and reads back to the host since the device was made. */
  dispatches: number
  submits: number
  reads: number
  /** GPU objects (buffers, pipelines, bind groups, layouts) or wasm objects created since the device was made. */
  objectsCreated: number
  /** Buffers that tensors own at this moment, their bytes, and the largest value those bytes ever had. */
  liveBuffers: number
  liveBytes: number
  peakBytes: number
  /** Multiply-adds counted as two, by the launches that know (convolution, matmul, attention). */
  flops: number
  /** Bytes of the buffers that kernels were given: what they read and write if they touch everything once. */
  bytes: number
}

/** How {@link Backend.tune}, and with it `Device.tune`, is watched and stopped. */
export interface TuneOptions {
  readonly signal?: AbortSignal
  /** Called after each shape: how many are measured, and how many there are. */
  readonly onProgress?: (done: number, total: number) => void
}

/** A kernel that computed something else than it should. */
export interface Fault {
  /** The op, and the variant of its kernel where there are several: `conv2d 3x3 (tile 64x64)`. */
  readonly kernel: string
  /** The run in which it showed: 1, with other inputs 2, with the first ones again 3. */
  readonly run: 1 | 2 | 3
  /** Largest difference from the CPU backend, in parts of the largest value; of a third run from the first. */
  readonly error: number
}

/** What `verifyDevice` found. */
export interface Verdict {
  /** How many kernels and variants were run. */
  readonly kernels: number
  /** Empty where the device can be trusted. */
  readonly faults: readonly Fault[]
}

/** How much is computed at a time, in a step of a sampler, say. */
export interface Work {
  /** Multiply-adds, counted as two. */
  readonly flops: number
  /** Kernels that it takes. */
  readonly kernels: number
}

/** What a job needs of a device; `memoryOf(config)` in `nn` makes one. */
export interface DeviceNeed {
  /** What is computed: backend `'auto'` takes the faster one for it. Default: large, which is the GPU's. */
  readonly work?: Work
  /** Bytes of all that is alive at once. */
  readonly bytes: number
  /** Bytes of the largest single tensor. */
  readonly largestBuffer: number
}

/** What computes, and the limits it grants. */
export interface AdapterDescription {
  readonly vendor: string
  readonly architecture: string
  readonly name: string
  /** Computed by the CPU (the CPU backend, lavapipe, SwiftShader): right, but no measure of a GPU. */
  readonly software: boolean
  readonly maxBufferBytes: number
  readonly maxBindingBytes: number
}

/** A WebGPU adapter that was not asked for a device yet. */
export interface AdapterListing extends AdapterDescription {
  /** Whether lanes of a subgroup may share values, which some kernels use. */
  readonly subgroups: boolean
  /** Whether it computes in 16-bit floats; nothing here does yet. */
  readonly halfFloats: boolean
  /** Whether it tells the time on its own clock, by which kernels are measured. */
  readonly timestamps: boolean
  /** Memory that the threads of a workgroup share, in bytes: 16384 at least. */
  readonly workgroupBytes: number
}

/** What a backend has whose memory are GPUBuffers: they can be shared, and it runs WGSL of the caller's. */
export interface GPUSharing {
  readonly gpuDevice: GPUDevice
  /** Resolves when everything enqueued so far is submitted, so that what the caller submits comes after it. */
  submit(): Promise<void>
  bufferOf(storage: Storage): GPUBuffer
  /** The caller's buffer as a storage of `bytes`, which is never destroyed nor handed to another tensor. */
  adopt(buffer: GPUBuffer, bytes: number): Storage
}

/** What {@link Backend.record} noted. */
export interface Recording {
  /** Enqueues it again, with what is {@link Live} as it is now. */
  replay(): void
  dispose(): void
}

/**
 * The line between tensors and what computes them. A backend owns memory and runs the ops of the op table; it knows
 * nothing of tapes, scopes or networks. Of the rooms above `tensor/` only the command line asks which backend runs
 * ({@link Backend.kind}): to choose a batch, and to write it down. Calls to {@link Backend.run} only enqueue, in order;
 * {@link Backend.read} and {@link Backend.flush} wait. An error that shows up late carries the name and the shapes of
 * the op that caused it.
 */
export interface Backend {
  readonly kind: 'webgpu' | 'cpu'
  readonly stats: BackendStats
  /** Which variant of a kernel computes which shape, where there are several; absent where there is no choice. */
  readonly choices?: Map<string, string>
  /** Absent on the CPU. */
  readonly gpu?: GPUSharing
  /** What of that was measured, here or in an earlier run. */
  readonly winners?: ReadonlyMap<string, Winner>
  /** Under which name is remembered what is measured on this device. */
  readonly identity?: string
  /** `reason` names the op and shapes in the error if memory runs out. */
  allocate(bytes: number, reason: () => string): Storage
  free(storage: Storage): void
  /**
   * A piece of a storage, from byte `offset` on, a multiple of 256: what is written to either shows
   * in both, and a write to the whole in the versions of its pieces. Its `free` frees no memory; the whole must outlive
   * it.
   */
  part(storage: Storage, offset: number, bytes: number): Storage
  /** Enqueued like an op: what ran before sees the old bytes, what runs after sees the new ones. */
  write(storage: Storage, data: Live<ArrayBufferView>): void
  /** Copies `bytes` from one storage to another, in order with the ops around it. */
  copy(source: Storage, target: Storage, bytes: number): void
  read(storage: Storage, bytes: number): Promise<ArrayBuffer>
  /**
   * Enqueues the op of this name. `params` are those of the op, whose type the backend's launch of the same name takes:
   * each table of launches is held against the op table by its type. `user` is what errors call the op: the function
   * that was called. Default its name.
   */
  run(op: string, params: unknown, inputs: readonly View[], outputs: readonly View[], user?: string): void
  /** Resolves when everything enqueued so far has run; rejects with the first late error. */
  flush(): Promise<void>
  /**
   * Runs `f`, which only enqueues, and notes what it enqueues, to do it again without it. Absent where to run the ops
   * again costs no more.
   */
  record?(f: () => void): Recording
  /**
   * Measures the kernel variants of the ops that `work` runs and keeps the fastest. Absent where there is no choice.
   */
  tune?(work: () => void, options: TuneOptions): Promise<void>
  dispose(): void
}
