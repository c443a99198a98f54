/**
 * How an op becomes jobs of the CPU backend. A launch looks at parameters and shapes and hands its {@link Encoder}
 * jobs, which run one after another, each cut into chunks that threads claim. Into how many depends on the shape alone,
 * never on the number of threads: so results do not either. Launches hold no state.
 */
import type { View } from '../backend.ts'
import type { KernelName } from './generated/kernels.ts'
import type { layouts } from './generated/params.ts'
import type { Buffer, Fields, Layout, Params } from './params.ts'

/** A kernel compiled at run time. */
export interface CompiledKernel<L extends Layout = Layout> {
  readonly address: number
  /** Of its parameters. */
  readonly fields: Fields<L>
}

/** A kernel of `src/wasm` by its name, or one compiled at run time. */
export type Kernel = KernelName | CompiledKernel

type LayoutOf<K extends Kernel> = K extends KernelName
  ? (typeof layouts)[K]
  : K extends CompiledKernel<infer L>
    ? L
    : never

/** A kernel to run, cut into chunks. */
export interface Job<K extends Kernel = Kernel> {
  readonly kernel: K
  /** Pieces that threads claim; a piece of 50 µs or more hides the cost of claiming it. */
  readonly chunks: number
  /** By the names that the kernel has for them. */
  readonly params: Params<LayoutOf<K>>
  /** Bytes that each thread has for itself while a chunk runs. */
  readonly scratch?: number
  /** Multiply-adds counted as two, where that is what the kernel is about. */
  readonly flops?: number
}

/** What a launch is given to write jobs with. */
export interface Encoder {
  run<K extends Kernel>(job: Job<K>): void
  /** Fills a buffer with zero bytes. */
  clear(target: Buffer): void
  /** Memory for the time of this launch. */
  temporary(bytes: number): Buffer
  /**
   * A copy of `source` in a kernel's own order, made by `pack` once and kept until `source` is written or freed. Null
   * for what an op computed, which is rarely used twice, and where the memory for such copies is full: the launch then
   * packs into a temporary.
   */
  packed(source: View, key: string, bytes: number, pack: (target: Buffer) => void): Buffer | null
  /**
   * The kernel whose module `code` makes; equal keys must mean equal code. The module imports
   * `env.memory` and has one export.
   */
  compile<L extends Layout>(key: string, fields: Fields<L>, code: (memory: MemoryType) => Uint8Array): CompiledKernel<L>
}

/** How a module must declare the memory it imports. */
export interface MemoryType {
  readonly shared: boolean
  readonly initial: number
  readonly maximum: number
  readonly relaxed: boolean
}

/** How the CPU backend runs an op. */
export type Launch<P> = (encoder: Encoder, params: P, inputs: readonly View[], outputs: readonly View[]) => void

/** Cuts `count` things into chunks of at least `least` each: how many chunks, and how many things a chunk. */
export function cut(count: number, least: number): { chunks: number; each: number } {
  const each = Math.max(Math.ceil(least), Math.ceil(count / 4000), 1)
  return { chunks: Math.max(1, Math.ceil(count / each)), each }
}
