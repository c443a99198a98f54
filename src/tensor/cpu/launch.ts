/**
 * How an op becomes jobs of the CPU backend. A launch looks at parameters and shapes and hands its {@link Encoder} jobs,
 * which run one after another, each cut into chunks that threads claim. Into how many depends on the shape alone, never
 * on the number of threads: so results do not either. Launches hold no state.
 */
import type { View } from '../backend.ts'
import type { KernelName } from './generated/kernels.ts'

/** A kernel compiled at run time. */
export interface CompiledKernel {
  readonly address: number
}

/** A tensor's memory, a temporary's, or a packed copy's. */
export type Buffer = Pick<View, 'storage'>

/** A 32-bit word of a kernel's parameters: an integer, a marked float, or the address of a buffer. */
export type Word = number | { readonly f32: number } | Buffer

export const float = (value: number): Word => ({ f32: value })

export interface Job {
  readonly kernel: KernelName | CompiledKernel
  /** Pieces that threads claim; a piece of 50 µs or more hides the cost of claiming it. */
  readonly chunks: number
  /** As the kernel's `Params` class lays them out. */
  readonly params: readonly Word[]
  /** Bytes that each thread has for itself while a chunk runs. */
  readonly scratch?: number
  /** Multiply-adds counted as two, where that is what the kernel is about. */
  readonly flops?: number
}

export interface Encoder {
  run(job: Job): void
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
  /** The kernel whose module `code` makes; equal keys must mean equal code. The module imports `env.memory` and has one export. */
  compile(key: string, code: (memory: MemoryType) => Uint8Array): CompiledKernel
}

/** How a module must declare the memory it imports. */
export interface MemoryType {
  readonly shared: boolean
  readonly initial: number
  readonly maximum: number
  readonly relaxed: boolean
}

export type Launch<P> = (encoder: Encoder, params: P, inputs: readonly View[], outputs: readonly View[]) => void

/** Cuts `count` things into chunks of at least `least` each: how many chunks, and how many things a chunk. */
export function cut(count: number, least: number): { chunks: number; each: number } {
  const each = Math.max(Math.ceil(least), Math.ceil(count / 4000), 1)
  return { chunks: Math.max(1, Math.ceil(count / each)), each }
}
