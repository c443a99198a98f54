/** What Node gives; the exports of `index.ts`. */
export { readCache, writeCache } from './cache.node.ts'
export { gpuHost, listAdapters, mayHaveGPU, noAdapterHint, requestGPU, submissionMs, waitFor } from './gpu.node.ts'
export { cores, freeMemory, memoryBudget } from './machine.node.ts'
export { onPageHide } from './page.ts'
export { hasWorkers, startWorker } from './workers.node.ts'
export type { WaitFor } from './gpu.ts'
export type { WorkerHandle } from './workers.ts'
