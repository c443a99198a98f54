/** What the benches use of tinybench, which only bench/package.json installs. */
export interface Task {
  readonly name: string
  /** Milliseconds by the bench's clock. */
  readonly result:
    | { readonly state: 'completed'; readonly latency: { readonly p50: number } }
    | { readonly state: 'not-started' | 'errored' | 'aborted' | 'started' }
}
export class Bench {
  constructor(options: { now: () => number; time: number; warmupTime: number })
  add(name: string, run: () => unknown, options?: { afterEach?: () => Promise<void> }): this
  run(): Promise<Task[]>
  readonly tasks: Task[]
}
