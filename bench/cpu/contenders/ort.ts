/**
 * onnxruntime: the wasm of onnxruntime-web, and native onnxruntime-node. One session API for both; every task is a
 * model.onnx in its directory, with the weights in it, so that both may pack them once. A run includes what every user
 * of the API pays, copying the input into and the output out of the runtime's memory; the note says how long that
 * takes.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import module from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type * as Ort from 'onnxruntime-common'
import { timed, type Run, type Task } from '../clock.ts'
import { identityModel } from '../models.ts'
import { readTensor, type Prepare } from '../protocol.ts'

// Not bundled: both find their binaries beside their own files.
const peer = module.createRequire(import.meta.url)

function inputsOf(ort: typeof Ort, task: Task): Record<string, Ort.Tensor> {
  const tensor = (name: string, shape: readonly number[]): Ort.Tensor =>
    new ort.Tensor('float32', readTensor(task.dir, name), shape)
  switch (task.kind) {
    case 'conv':
      return { x: tensor('x', [task.batch, task.channels, task.size, task.size]) }
    case 'gemm':
      return { x: tensor('x', [task.size, task.size]) }
    case 'neighbours':
      throw new Error('onnxruntime has no search for neighbours')
    default:
      return { x: tensor('x', [task.batch, 3, 32, 32]), emb: tensor('emb', [task.batch, 32]) }
  }
}

/** Hides AVX-512 from the code that looks for it next (avx2.c); returns what ends it. */
function hideAvx512(): () => void {
  const source = fileURLToPath(new URL('../../cpu/avx2.c', import.meta.url))
  const load = (flag: string): void => {
    const library = fileURLToPath(new URL(`avx2-${flag}.so`, import.meta.url))
    // Node unloads what is no addon, and says so, once its constructor has run: nodelete keeps the handler in memory.
    const made = spawnSync('cc', ['-O1', '-shared', '-fPIC', `-D${flag}`, source, '-o', library, '-Wl,-z,nodelete'])
    if (made.status !== 0)
      throw new Error(`AVX-512 cannot be hidden without a C compiler: ${String(made.error ?? made.stderr)}`)
    try {
      process.dlopen({ exports: {} }, library)
    } catch (error) {
      if (!String(error).includes('self-register')) throw error
    }
    if (process.env.TWEEDIE_NO_CPUID_FAULTING)
      throw new Error('AVX-512 cannot be hidden: this CPU or kernel has no CPUID faulting')
  }
  load('HIDE')
  return () => load('SHOW')
}

export function ortPrepare(library: 'ort-web' | 'ort-node', threads: number, isa: string): Prepare {
  const ort = peer(library === 'ort-web' ? 'onnxruntime-web' : 'onnxruntime-node') as typeof Ort
  const web = library === 'ort-web'
  if (web) {
    ort.env.wasm.numThreads = threads
    ort.env.wasm.proxy = false
  }
  const session = (model: Uint8Array): Promise<Ort.InferenceSession> =>
    ort.InferenceSession.create(model, {
      executionProviders: [web ? 'wasm' : 'cpu'],
      graphOptimizationLevel: 'all',
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
    })
  return async (task) => {
    // The kernels are chosen while the first session is made.
    const show = isa === 'avx2' ? hideAvx512() : () => {}
    const model = await session(readFileSync(join(task.dir, 'model.onnx')))
    show()
    const inputs = inputsOf(ort, task)
    const { data, dims } = (await model.run(inputs)).y
    const y = data.slice()
    const run = into(model, inputs, dims)
    const copied = async (t: Ort.Tensor): Promise<number> => (await timed(await identity(t), 50)).ms / 2
    const copies = (await copied(inputs.x)) + (await copied(new ort.Tensor('float32', y, dims)))
    return {
      y,
      run,
      note: `${ort.env.versions[web ? 'web' : 'node']}; of a run, copies in and out ${copies.toFixed(2)} ms`,
    }
  }

  /** The native one writes into a tensor that is there; the wasm makes a new one each time, and knows no other way. */
  function into(model: Ort.InferenceSession, inputs: Record<string, Ort.Tensor>, dims: readonly number[]): Run {
    if (web) return () => model.run(inputs)
    const outputs = { y: new ort.Tensor('float32', new Float32Array(dims.reduce((a, b) => a * b, 1)), dims) }
    return () => model.run(inputs, outputs)
  }

  /** A model that only copies: half of its time is that of handing this tensor in, or out. */
  async function identity(x: Ort.Tensor): Promise<Run> {
    return into(await session(identityModel(x.dims)), { x }, x.dims)
  }
}
