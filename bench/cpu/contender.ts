/**
 * A contender as the bench sees it: a child process that is asked for one thing at a time and stands still otherwise.
 * Stopped by signal, not by trust: an idle thread pool that spins would take a core from whoever is measured.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Task } from './clock.ts'
import type { Command, Reply, Slot } from './protocol.ts'

export interface Choice {
  /**
   * Which library. `ours-products` is the products alone of a search for neighbours; litert and ours-chromium run in
   * Chromium, torch, torch-cdist and sklearn in Python.
   */
  readonly library:
    | 'ours'
    | 'ours-products'
    | 'ort-web'
    | 'ort-node'
    | 'tfjs-wasm'
    | 'torch'
    | 'torch-cdist'
    | 'sklearn'
    | 'litert'
    | 'ours-chromium'
  readonly threads: number
  /**
   * Of ours and of litert: plain or relaxed WebAssembly SIMD; of the native ones: all the CPU has, or no more than
   * AVX2. Of torch-cdist and sklearn: the system's BLAS, or OpenBLAS.
   */
  readonly isa: 'plain' | 'relaxed' | 'native' | 'avx2' | 'openblas'
}

export const nameOf = ({ library, threads, isa }: Choice): string => `${library} ${isa} T${threads}`

/** The bench's own bundle, in node_modules/.bench, is also every JavaScript contender's program. */
const program = fileURLToPath(import.meta.url)
const python = (file: string): string => fileURLToPath(new URL(`../../cpu/${file}`, import.meta.url))
const pythonPrograms: Partial<Record<Choice['library'], string>> = {
  torch: python('unet.py'),
  'torch-cdist': python('neighbours.py'),
  sklearn: python('neighbours.py'),
}

/** Where Debian's libopenblas0-pthread puts a libblas.so.3 beside the system's. */
export const openBlas = '/usr/lib/x86_64-linux-gnu/openblas-pthread'

/** Stopped processes would outlive the bench: whatever ends it, they end first. */
const running = new Set<Contender>()
export function stopAllAtExit(): void {
  process.on('exit', () => running.forEach((contender) => contender.stop()))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1))
}

/** An answer takes at most this long: a library that hangs is reported as failed, not waited for. */
const patience = 180_000

export class Contender {
  readonly name: string
  readonly choice: Choice
  note = ''
  readonly #child: ChildProcess
  #answer: ((reply: Reply) => void) | null = null
  #log = ''

  constructor(choice: Choice) {
    this.choice = choice
    this.name = nameOf(choice)
    const { library, threads, isa } = choice
    const script = pythonPrograms[library]
    const [command, args] = script
      ? ['/usr/bin/python3', [script, this.name, String(threads), library]]
      : [process.execPath, [program, '--contender', library, String(threads), isa]]
    const env = {
      ...process.env,
      OMP_NUM_THREADS: String(threads),
      OPENBLAS_NUM_THREADS: String(threads),
      ...(isa === 'openblas' ? { LD_LIBRARY_PATH: openBlas } : {}),
      ...(isa === 'avx2' ? { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2' } : {}),
    }
    // A group of its own, so that one signal stops a browser with all its processes.
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env, detached: true })
    this.#child.stderr!.on('data', (text: Buffer) => (this.#log = (this.#log + text.toString()).slice(-4000)))
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      if (line.startsWith('@')) this.#reply(JSON.parse(line.slice(1)) as Reply)
    })
    this.#child.on('error', (error) => this.#reply({ error: String(error) }))
    this.#child.on('exit', (code, signal) =>
      this.#reply({ error: `ended with ${code ?? signal}: ${this.#log.trim().slice(-600)}` }),
    )
    this.#child.stdin!.on('error', () => {})
    running.add(this)
  }

  /** @throws Error with what the contender said, if it cannot do the task. */
  async prepare(task: Task): Promise<void> {
    this.note = (await this.#ask({ prepare: task })).note ?? ''
  }

  async round(atLeast: number): Promise<Slot> {
    return (await this.#ask({ round: atLeast })) as Slot
  }

  stop(): void {
    this.#signal('SIGKILL')
    running.delete(this)
  }

  async #ask(command: Command): Promise<Reply> {
    if (this.#child.exitCode !== null || this.#child.pid === undefined)
      throw new Error(`${this.name} is not running: ${this.#log}`)
    this.#signal('SIGCONT')
    const reply = await new Promise<Reply>((resolve) => {
      const timer = setTimeout(
        () => resolve({ error: `no answer in ${patience / 1000} s. ${this.#log.trim().slice(-600)}` }),
        patience,
      )
      this.#answer = (found) => {
        clearTimeout(timer)
        resolve(found)
      }
      this.#child.stdin!.write(`${JSON.stringify(command)}\n`)
    })
    this.#signal('SIGSTOP')
    if (reply.error) throw new Error(`${this.name}: ${reply.error}`)
    return reply
  }

  #reply(reply: Reply): void {
    this.#answer?.(reply)
    this.#answer = null
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return
    try {
      process.kill(-this.#child.pid, signal)
    } catch {
      // It has ended by itself; the next question says so.
    }
  }
}
