/** Here, since TypeScript takes a component for a script of another kind, which has no `import.meta`. */
export const startWorker = (): Worker => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' })
