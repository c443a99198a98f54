/**
 * What the host and its workers agree on. The host never computes: it writes jobs as 32-bit words, a batch at a time,
 * and posts them to the first worker, the leader, which owns the order. Where memory is shared, further workers help
 * with the chunks of the job at hand; without SharedArrayBuffer the leader works alone, through the same messages.
 *
 * Memory: 64 KiB for the constants of the kernels' module, then the words of the batch being run, then the heap.
 */

/**
 * Where a job's words are: which kernel, how many chunks, the first one's number, scratch of the first thread and bytes
 * from one thread's to the next's, words in all; then the kernel's parameters.
 */
export const job = { kernel: 0, chunks: 1, first: 2, scratch: 3, stride: 4, length: 5, params: 6 } as const
/**
 * `kernel` of a piece of host data to be put into memory: words are its address and its number in the batch's `data`.
 */
export const writeCommand = -1
/** `kernel` of a request for more memory: its word is the number of 64 KiB pages there must be. */
export const growCommand = -2

/** The leader copies a batch's words here, where helpers find a job's parameters. */
export const commandBase = 65536
export const commandWords = 65536
export const heapBase = commandBase + commandWords * 4

/**
 * Below this, `kernel` numbers an export of the module; above, it is the address of [byte length,
 * module] made at run time.
 */
export const firstCodeAddress = heapBase

/** Words of the control block that threads share. */
export const control = {
  /** Generation of the job (20 bits) and the next chunk to claim (12 bits); `closed` between jobs. */
  ticket: 0,
  /** Address of the job's words. */
  job: 1,
  /** Chunks that are not finished. */
  left: 2,
  /** 1 once a kernel has trapped. */
  trapped: 3,
  length: 4,
} as const
export const closed = 0xfff
/** Of a job; longer ones are enqueued in pieces. One less than `closed` would do; a round number reads better. */
export const maxChunks = 4000

/** What a worker is started with. */
export interface StartMessage {
  readonly kind: 'start'
  /** The kernels' module; its exports in order are the kernels. */
  readonly module: Uint8Array<ArrayBuffer>
  /** Shared memory, or the size of a memory of the leader's own. */
  readonly memory: WebAssembly.Memory | { readonly pages: number; readonly maximum: number }
  readonly control: Int32Array | null
  /** 0 is the leader. */
  readonly thread: number
}

/** What the host posts to the leader. */
export type LeaderMessage =
  | {
      readonly kind: 'batch'
      readonly words: Int32Array<ArrayBuffer>
      readonly data: readonly Uint8Array<ArrayBuffer>[]
    }
  | { readonly kind: 'read'; readonly id: number; readonly address: number; readonly bytes: number }

/** `failure.job` counts the jobs of all batches since the start. */
export type WorkerReply =
  /** `program` names the text that runs there: a file on a server may be of another version. */
  | { readonly kind: 'ready'; readonly program: string }
  | { readonly kind: 'refused'; readonly message: string; readonly memory: boolean }
  | { readonly kind: 'data'; readonly id: number; readonly bytes: ArrayBuffer }
  | { readonly kind: 'failure'; readonly job: number; readonly message: string; readonly memory: boolean }
