/** Kernels of the caller's: what {@link Device.kernel} is told, checked, as the WebGPU backend takes it. */
import { TweedieError, unexpected } from '../errors.ts'
import { refuseUnknown } from '../refuse.ts'
import type { Spec, View } from './backend.ts'
import { checkDType, type DType } from './dtype.ts'
import { checkShape, type Shape } from './shape.ts'

/** What `Device.kernel` runs, and on what: `T` are tensors. */
export interface KernelOptions<T> {
  /**
   * WGSL with an entry point `main`. Group 0 has the uniform at binding 0, which need not be declared, then the inputs
   * as `var<storage, read>` from binding 1, then the outputs as `var<storage, read_write>`.
   */
  readonly wgsl: string
  /** Tensors that are read. Default: none. */
  readonly inputs?: readonly T[]
  /**
   * What is written: the shape of a new tensor, with its type where that is not f32, or a tensor that is there and is
   * no input. A new tensor's memory holds whatever lay there before.
   */
  readonly outputs: readonly (Shape | { readonly shape: Shape; readonly dtype: DType } | T)[]
  /** Workgroups along x, y and z. */
  readonly workgroups: number | readonly number[]
  /** At most 256 bytes for `var<uniform>` at binding 0, laid out as WGSL lays out the struct. Default: none. */
  readonly uniforms?: ArrayBufferView
  /** What errors call it. Default: 'kernel'. */
  readonly name?: string
}

/** What the WebGPU backend is told of a caller's kernel. */
export interface KernelParams<T extends View = View> {
  readonly wgsl: string
  readonly workgroups: readonly [number, number, number]
  readonly words: readonly number[]
  /** Where each output goes: a tensor that was there, or null for the next of those that were made. */
  readonly targets: readonly (T | null)[]
  readonly specs: readonly Spec[]
}

/** The name, the tensors that are read, and the rest; `isTensor` tells a tensor from the shape of one. */
export function kernelCall<T extends View>(
  options: KernelOptions<T>,
  isTensor: (value: unknown) => value is T,
): { readonly name: string; readonly inputs: readonly T[]; readonly params: KernelParams<T> } {
  const known = { wgsl: true, inputs: true, outputs: true, workgroups: true, uniforms: true, name: true } as const
  refuseUnknown('kernel', options, known)
  const { wgsl, inputs = [], outputs, workgroups, uniforms, name = 'kernel' } = options
  if (typeof wgsl !== 'string') throw unexpected('kernel', 'its wgsl as text', wgsl)
  const targets = outputs.map((output) => (isTensor(output) ? output : null))
  const specs = outputs.flatMap((output): Spec[] => {
    if (isTensor(output)) return []
    const { shape, dtype } = 'shape' in output ? output : { shape: output, dtype: 'f32' as const }
    return [{ shape: checkShape(name, shape), dtype: checkDType(name, dtype) }]
  })
  const params = { wgsl, workgroups: gridOf(name, workgroups), words: wordsOf(name, uniforms), targets, specs }
  return { name, inputs, params }
}

function gridOf(user: string, workgroups: number | readonly number[]): [number, number, number] {
  const [x, y = 1, z = 1, ...more] = typeof workgroups === 'number' ? [workgroups] : workgroups
  const grid: [number, number, number] = [x, y, z]
  if (more.length > 0 || grid.some((n) => !Number.isSafeInteger(n) || n < 1))
    throw new TweedieError(
      'option',
      `${user}: workgroups are one to three whole numbers of 1 or more, found ${[workgroups].flat().join(', ')}.`,
    )
  return grid
}

function wordsOf(user: string, view: ArrayBufferView | undefined): readonly number[] {
  if (view === undefined) return []
  if (!ArrayBuffer.isView(view)) throw unexpected(user, 'its uniforms as a typed array or DataView', view)
  const bytes = new Uint8Array(Math.ceil(view.byteLength / 4) * 4)
  bytes.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
  return [...new Uint32Array(bytes.buffer)]
}
