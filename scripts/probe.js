/**
 * Prints the name of the adapter that Dawn finds with the process's environment, after computing something on it.
 * Prints nothing where there is no adapter, or only SwiftShader, which scripts/vulkan.js has itself.
 */
import { create, globals } from 'webgpu'

/** @param {GPU} gpu @returns {Promise<string>} */
async function probe(gpu) {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter || adapter.info.architecture === 'swiftshader') return ''
  const { GPUBufferUsage, GPUMapMode } = /** @type {typeof globalThis} */ (globals)
  const device = await adapter.requestDevice()
  const code =
    '@group(0) @binding(0) var<storage, read_write> a: array<u32>; @compute @workgroup_size(1) fn main() { a[0] = 7u; }'
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }) },
  })
  const result = device.createBuffer({ size: 4, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })
  const copy = device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: result } }],
    }),
  )
  pass.dispatchWorkgroups(1)
  pass.end()
  encoder.copyBufferToBuffer(result, 0, copy, 0, 4)
  device.queue.submit([encoder.finish()])
  await copy.mapAsync(GPUMapMode.READ)
  return new Uint32Array(copy.getMappedRange())[0] === 7
    ? adapter.info.description || adapter.info.device || adapter.info.vendor
    : ''
}

// Dawn crashes if its instance is collected before its devices, and lists SwiftShader ahead of lavapipe.
const instances = []
for (const options of [[], ['adapter=llvmpipe']]) {
  const gpu = create(options)
  instances.push(gpu)
  const adapter = await probe(gpu).catch(() => '')
  if (!adapter) continue
  process.stdout.write(adapter)
  break
}
