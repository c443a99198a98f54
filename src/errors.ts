/**
 * The one error type of the library. Every failure a caller can act on is a {@link TweedieError}: its `code` is stable
 * and made for `switch`, its message says what was expected, what was found and what to do. An abort is no error of
 * ours: it rejects with `signal.reason`, as everywhere on the web.
 */
export type ErrorCode =
  /** No WebGPU adapter, or the `webgpu` package is not installed. */
  | 'webgpu-unavailable'
  /** The CPU backend cannot run here: no WebAssembly SIMD (or relaxed SIMD, if asked for), or no worker may start. */
  | 'cpu-unavailable'
  /** The device was lost (driver reset, unplugged, destroyed by its owner), or a worker thread died. */
  | 'device-lost'
  /** The device could not allocate a buffer, or a model needs more memory than it has. */
  | 'out-of-memory'
  /** A buffer, binding or dispatch is larger than the device allows. */
  | 'limit-exceeded'
  /** A kernel did not compile on this device. */
  | 'shader-compile'
  /** The device refused a command: a defect of this library or of the driver. */
  | 'device-error'
  /** A tensor, tape or device was used after it was disposed. */
  | 'disposed'
  /** Shapes or data types of an operation do not fit together. */
  | 'shape'
  /** The operation has no gradient, or what was asked for is not supported. */
  | 'unsupported'
  /** A checkpoint lacks tensors, has others, or has them in other shapes. */
  | 'weights'
  /** A file is broken, of another format, or names something that is not allowed. */
  | 'format'
  /** NaN or infinity where a finite number belongs. */
  | 'non-finite'
  /** An option is missing, unknown, or out of range. */
  | 'option'

export class TweedieError extends Error {
  override readonly name = 'TweedieError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}
