// A bare Dawn device for measuring kernels: compile, run and wait with the JavaScript thread asleep.
import { create, globals } from 'webgpu'
Object.assign(globalThis, globals)
const gpu = create([])
// Dawn crashes the process when this object is collected.
Object.assign(globalThis, { keepGpu: gpu })
const sleeper = new Int32Array(new SharedArrayBuffer(4))

async function asleep<T>(promise: Promise<T>): Promise<T> {
  let waiting = true
  const nap = () => {
    if (waiting) {
      Atomics.wait(sleeper, 0, 0, 0.3)
      setImmediate(nap)
    }
  }
  setImmediate(nap)
  try {
    return await promise
  } finally {
    waiting = false
  }
}

export const adapter = (await gpu.requestAdapter())!
/** The width of a subgroup if the feature is there and the width is fixed, else 0. */
export const subgroup =
  adapter.features.has('subgroups') && adapter.info.subgroupMinSize === adapter.info.subgroupMaxSize
    ? (adapter.info.subgroupMinSize ?? 0)
    : 0
const device = await adapter.requestDevice({
  requiredFeatures: subgroup ? ['subgroups'] : [],
  requiredLimits: { maxComputeInvocationsPerWorkgroup: 256 },
})
device.addEventListener('uncapturederror', (e) => {
  console.error(e.error.message)
  process.exit(1)
})

export function upload(data: Float32Array | Int32Array, usage = GPUBufferUsage.STORAGE): GPUBuffer {
  const size = Math.max(16, data.byteLength)
  const buffer = device.createBuffer({ size, usage: usage | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC })
  device.queue.writeBuffer(buffer, 0, data as BufferSource)
  return buffer
}
export const uniform = (words: readonly number[]) => upload(Int32Array.from(words), GPUBufferUsage.UNIFORM)
export const empty = (n: number) => upload(new Float32Array(n))

interface Step {
  pipeline: GPUComputePipeline
  group: GPUBindGroup
  grid: readonly [number, number, number]
}
const compiled = new Map<string, Promise<GPUComputePipeline>>()
async function compile(code: string): Promise<GPUComputePipeline> {
  let pipeline = compiled.get(code)
  if (!pipeline) {
    const module = device.createShaderModule({ code })
    const messages = (await module.getCompilationInfo()).messages.filter((m) => m.type === 'error')
    if (messages.length) {
      console.error(
        code
          .split('\n')
          .map((l, i) => `${i + 1} ${l}`)
          .join('\n'),
      )
      for (const m of messages) console.error(m.lineNum, m.message)
      process.exit(1)
    }
    pipeline = device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layoutOf(code)] }),
      compute: { module, entryPoint: 'main' },
    })
    compiled.set(code, pipeline)
  }
  return asleep(pipeline)
}
export async function step(code: string, buffers: GPUBuffer[], grid: readonly [number, number, number]): Promise<Step> {
  const pipeline = await compile(code)
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
  return { pipeline, group: device.createBindGroup({ layout: layoutOf(code), entries }), grid }
}
/** Runs the steps `repeat` times in one submit; milliseconds from submit to done. */
export async function run(steps: Step[], repeat = 1): Promise<number> {
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  for (let r = 0; r < repeat; r++) {
    for (const s of steps) {
      pass.setPipeline(s.pipeline)
      pass.setBindGroup(0, s.group)
      pass.dispatchWorkgroups(...s.grid)
    }
  }
  pass.end()
  const start = performance.now()
  device.queue.submit([encoder.finish()])
  await asleep(device.queue.onSubmittedWorkDone())
  return performance.now() - start
}
export function random(n: number, seed = 1): Float32Array {
  let s = seed >>> 0
  return Float32Array.from({ length: n }, () => (s = (Math.imul(s, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1)
}
const layouts = new Map<string, GPUBindGroupLayout>()
/** The layout from the declarations in the text, so that an unused binding stays. */
function layoutOf(code: string): GPUBindGroupLayout {
  const kinds = [...code.matchAll(/@binding\((\d+)\) var<(uniform|storage, read_write|storage, read|storage)>/g)].map(
    (m) => m[2],
  )
  const key = kinds.join(';')
  if (!layouts.has(key))
    layouts.set(
      key,
      device.createBindGroupLayout({
        entries: kinds.map((kind, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: {
            type:
              kind === 'uniform'
                ? ('uniform' as const)
                : kind === 'storage, read_write'
                  ? ('storage' as const)
                  : ('read-only-storage' as const),
          },
        })),
      }),
    )
  return layouts.get(key)!
}
