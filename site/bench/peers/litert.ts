/** LiteRT.js: a model of one op in its own format, channels last, written here (`bench/cpu/tflite.ts`). */
import { convTflite, gemmTflite } from '../../../bench/cpu/tflite.ts'
import type { Peer } from '../peers.ts'
import { channelsLast } from './layout.ts'

const version = '2.5.3'

interface LiteTensor {
  data(): Promise<Float32Array>
  delete(): void
}
/** What is used of it. */
interface Lite {
  loadLiteRt(path: string): Promise<unknown>
  loadAndCompile(
    model: Uint8Array,
    options: { accelerator: 'wasm' | 'webgpu' },
  ): Promise<{ run(inputs: readonly LiteTensor[]): Promise<LiteTensor[]>; delete?(): void }>
  readonly Tensor: new (data: Float32Array, shape: readonly number[]) => LiteTensor
}

/**
 * It would ask for its script by importScripts, which a worker of modules refuses: here the script is a module that has
 * run before.
 */
async function start(lite: Lite, base: string, script: string): Promise<void> {
  const response = await fetch(base + script)
  if (!response.ok) throw new Error(`${base}${script}: ${response.status}`)
  const text = `${await response.text()}\nglobalThis.ModuleFactory = ModuleFactory`
  const url = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }))
  await import(/* @vite-ignore */ url)
  URL.revokeObjectURL(url)
  Object.assign(globalThis, { importScripts: () => {}, Module: { locateFile: (name: string) => base + name } })
  await lite.loadLiteRt(base + script)
}

export const peer = (cdn: string): Peer => ({
  name: `LiteRT.js ${version}`,
  async load(backend) {
    const lite = (await import(/* @vite-ignore */ `${cdn}@litertjs/core@${version}/+esm`)) as Lite
    const base = `${cdn}@litertjs/core@${version}/wasm/`
    // Relaxed SIMD, or what every browser has.
    await start(lite, base, 'litert_wasm_internal.js').catch(() => start(lite, base, 'litert_wasm_compat_internal.js'))
    return async ({ as, sizes, inputs }) => {
      const { n, cin, cout, h, w, m, k } = sizes
      const square = as === 'conv2d-3x3' ? cin === cout && h === w : as === 'matmul' && m === n && n === k
      // The models that are written here are of squares.
      if (!square) return null
      const [{ data: x }, { data: constant }] = inputs
      const isConv = as === 'conv2d-3x3'
      const model = isConv
        ? convTflite({ kind: 'conv', dir: '', batch: n, channels: cin, size: h }, constant)
        : gemmTflite({ kind: 'gemm', dir: '', size: m }, constant)
      const compiled = await lite.loadAndCompile(model, { accelerator: backend === 'webgpu' ? 'webgpu' : 'wasm' })
      const input = isConv ? new lite.Tensor(channelsLast(x, n, cin), [n, h, h, cin]) : new lite.Tensor(x, [m, m])
      let last: LiteTensor | null = null
      return {
        async run() {
          last?.delete()
          last = (await compiled.run([input]))[0]
        },
        // Only a read waits: all of the output, as its users have it.
        wait: async () => void (await last?.data()),
        async read() {
          const [out] = await compiled.run([input])
          const y = (await out.data()).slice()
          out.delete()
          return isConv ? channelsLast(y, n, h * h) : y
        },
        dispose() {
          last?.delete()
          input.delete()
          compiled.delete?.()
        },
      }
    }
  },
})
