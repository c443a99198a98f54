/**
 * What the host gives: WebGPU, workers, cores and memory, and a place for what was measured. Here is a browser;
 * `index.node.ts` has the same exports for Node, and the package's `#platform` import chooses between them by
 * the `node` condition.
 */
export { readCache, writeCache } from './cache.ts'
export {
  gpuHost,
  listAdapters,
  mayHaveGPU,
  noAdapterHint,
  requestGPU,
  submissionMs,
  waitFor,
  type WaitFor,
} from './gpu.ts'
export { cores, freeMemory, memoryBudget } from './machine.ts'
export { onPageHide } from './page.ts'
export { hasWorkers, startWorker, type WorkerHandle } from './workers.ts'
