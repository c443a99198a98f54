/**
 * How an op becomes kernels. A launch is a function that looks at parameters and shapes and asks its {@link Encoder}
 * for dispatches; it says for each buffer whether the kernel reads or writes it (as gpu.cpp does), so a mistake shows
 * where it is made. Launches hold no state.
 */
import type { View } from '../backend.ts'
import type { Live } from '../live.ts'

/** A kernel to run, with what it reads and writes. */
export interface Dispatch {
  /** Names the pipeline: equal keys must mean equal code. Starts with the shader file's name. */
  readonly key: string
  /** The WGSL, made only when the pipeline is. Entry point `main`. */
  readonly code: () => string
  /** The 32-bit words of the uniform at binding 0, by `shaders/uniform.ts`; at most 64. */
  readonly uniforms: readonly number[]
  /** Bindings 1.., read-only storage. */
  readonly read: readonly Buffer[]
  /** The bindings after those, read-write storage. None may be among `read`. */
  readonly write: readonly Buffer[]
  /** Workgroups. */
  readonly grid: readonly [number, number, number]
  /** Multiply-adds counted as two, where that is what the kernel is about. */
  readonly flops?: number
}

/** A tensor's memory or a temporary's. */
export type Buffer = Pick<View, 'storage'>

/** What kernels may use of a device. `Device.request` may be told to use less than there is. */
export interface Capabilities {
  /** Width of a subgroup where the device has the feature and the width is fixed, else 0. */
  readonly subgroupSize: number
  /** Computed by the CPU: kernels are cut for few cores, and others are tried first. */
  readonly software: boolean
  /** Workgroups along one dimension. */
  readonly maxGrid: number
  /** Memory that the threads of a workgroup share, in bytes; 16384 on every device. */
  readonly workgroupBytes: number
  /** 16-bit floats in kernels (`shader-f16`). */
  readonly halfFloats: boolean
  /** The GPU's own clock (`timestamp-query`). */
  readonly timestamps: boolean
  /** Kernels may ask for a width of their subgroups (`subgroup-size-control`). */
  readonly subgroupSizeControl: boolean
}

/** What a launch is given to ask for dispatches with. */
export interface Encoder {
  readonly capabilities: Capabilities
  dispatch(dispatch: Dispatch): void
  /** Fills a buffer with zero bytes. */
  clear(target: Buffer): void
  /** Memory for the time of this launch. */
  temporary(bytes: number): Buffer
  /** A live value as it is now; a recorded program runs the launch that asked again, for its uniforms. */
  now<T>(live: Live<T>): T
  /**
   * The name of the kernel variant that measurement found fastest for `key`, `fallback` before it was measured.
   * `kernelOf` gives a variant's kernel: a measurement holds as long as no text of a candidate changes.
   */
  choose(
    key: string,
    candidates: readonly string[],
    fallback: string,
    kernelOf: (variant: string) => Pick<Dispatch, 'key' | 'code'>,
  ): string
}

/**
 * A choice between kernel variants that an op came upon, and how to run that op on other tensors of the same shapes.
 */
export interface Choice {
  readonly key: string
  readonly candidates: readonly string[]
  /** What is taken while nothing has been measured. */
  readonly fallback: string
  /** A hash of the candidates' WGSL. */
  readonly text: () => string
  readonly inputs: readonly View[]
  readonly outputs: readonly View[]
  readonly again: (inputs: readonly View[], outputs: readonly View[]) => void
}

/** How the WebGPU backend runs an op. */
export type Launch<P> = (encoder: Encoder, params: P, inputs: readonly View[], outputs: readonly View[]) => void

/**
 * A grid of at least `count` workgroups, folded into y where x has no room; kernels multiply back with
 * num_workgroups.x.
 */
export function linearGrid(count: number, limit = 65535): [number, number, number] {
  const y = Math.ceil(count / limit)
  return [Math.ceil(count / y), y, 1]
}
