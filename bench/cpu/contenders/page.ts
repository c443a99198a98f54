/**
 * What runs in Chromium: LiteRT, or Tweedie beside it, for the single ops. The page asks its server for commands, runs
 * them and posts the answers; both libraries run on the page's main thread with helpers of their own, as in any page.
 */
import { loadAndCompile, loadLiteRt, Tensor as LiteTensor } from '@litertjs/core'
import { conv2d, Device, matmul, type Tensor } from '../../../src/tensor.ts'
import { timed, type Run, type Task } from '../clock.ts'

const query = new URL(location.href).searchParams
const [library, threads, isa] = [
  query.get('library'),
  Number(query.get('threads')),
  query.get('isa') as 'plain' | 'relaxed',
]

const file = async (name: string): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(await (await fetch(`/file/${name}`)).arrayBuffer())
const floats = async (name: string): Promise<Float32Array> => new Float32Array((await file(name)).buffer)

/** [n, c, p] to [n, p, c]. */
function channelsLast(x: Float32Array, n: number, c: number): Float32Array {
  const p = x.length / n / c
  const out = new Float32Array(x.length)
  for (let b = 0; b < n; b++)
    for (let k = 0; k < c; k++) for (let i = 0; i < p; i++) out[(b * p + i) * c + k] = x[(b * c + k) * p + i]
  return out
}

async function litert(task: Task): Promise<{ y: Float32Array; run: Run }> {
  await loadLiteRt(
    isa === 'plain' ? '/litert/litert_wasm_compat_internal.js' : '/litert/',
    threads > 1 ? { threads: true } : {},
  )
  const model = await loadAndCompile(await file('model.tflite'), {
    accelerator: 'wasm',
    cpuOptions: { numThreads: threads },
  })
  const x = await floats('x')
  let input: LiteTensor
  const run = async (): Promise<LiteTensor> => (await model.run([input]))[0]
  let back = (y: Float32Array): Float32Array => y
  if (task.kind === 'conv') {
    const { batch, channels, size } = task
    input = new LiteTensor(channelsLast(x, batch, channels), [batch, size, size, channels])
    back = (y) => channelsLast(y, batch, size * size)
  } else if (task.kind === 'gemm') input = new LiteTensor(x, [task.size, task.size])
  else throw new Error(`litert does not do ${task.kind} here`)
  const first = await run()
  const y = back((await first.data()).slice() as Float32Array)
  first.delete()
  return { y, run: async () => (await run()).delete() }
}

async function ours(task: Task): Promise<{ y: Float32Array; run: Run }> {
  const device = await Device.request({ backend: 'cpu', threads, simd: isa })
  const tensor = async (name: string, shape: readonly number[]): Promise<Tensor> =>
    device.tensor(await floats(name), shape)
  let op: () => Tensor
  if (task.kind === 'conv') {
    const { batch, channels, size } = task
    const [x, w] = [await tensor('x', [batch, channels, size, size]), await tensor('w', [channels, channels, 3, 3])]
    op = () => conv2d(x, w, { padding: 1 })
  } else if (task.kind === 'gemm') {
    const [a, b] = [await tensor('x', [task.size, task.size]), await tensor('w', [task.size, task.size])]
    op = () => matmul(a, b)
  } else throw new Error(`the page does not do ${task.kind}`)
  return {
    y: await op().read(),
    run: () => {
      op().dispose()
      return device.flush()
    },
  }
}

type Command = { readonly prepare: Task } | { readonly round: number }

async function work(): Promise<void> {
  let run: Run = () => {}
  for (;;) {
    const command = (await (await fetch('/command')).json()) as Command
    let answer: BodyInit
    try {
      if ('prepare' in command) {
        if (!crossOriginIsolated) throw new Error('the page is not cross-origin isolated')
        const prepared = await (library === 'litert' ? litert : ours)(command.prepare)
        run = prepared.run
        answer = prepared.y as Float32Array<ArrayBuffer>
      } else answer = JSON.stringify(await timed(run, command.round))
      await fetch('/answer', { method: 'POST', body: answer })
    } catch (error) {
      await fetch('/error', { method: 'POST', body: String((error as Error).stack ?? error) })
    }
  }
}

void work()
