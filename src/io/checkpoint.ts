import type { FileDType, TensorData } from './dtype.ts'

/** One tensor of a file. */
export interface TensorEntry {
  /** Its key in the state dict. */
  readonly name: string
  /** As stored; C order. `[]` is a scalar. */
  readonly shape: readonly number[]
  /** As stored; reading widens. */
  readonly dtype: FileDType
  /** Elements times the element size of `dtype`. */
  readonly byteLength: number
  /** The elements in C order, widened as {@link TensorData} says, in memory of their own. */
  read(signal?: AbortSignal): Promise<TensorData>
}

/**
 * An ordered map from state-dict names to tensors that are still in the file. Opening reads names, shapes and types
 * only; each tensor is read when asked for, so that weights go to the device one at a time and the host never holds
 * more than one. Whoever opens it closes it.
 */
export interface Checkpoint {
  /** Name of the source: a path, a URL. */
  readonly name: string
  /** `__metadata__` of safetensors; empty for PyTorch files. */
  readonly metadata: Readonly<Record<string, string>>
  /** By state-dict name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, TensorEntry>
  /** Which state dict of a PyTorch file this is, `ema` say; empty: the file is one. Absent for safetensors. */
  readonly stateDict?: string
  /** What was left out, renamed or chosen while it was opened: sentences for whoever opened it. */
  readonly notes?: readonly string[]
  /** The bytes before the tensors, of safetensors files: what a seal covers. */
  readonly header?: Uint8Array
  /** Closes the source. */
  close(): Promise<void>
}
