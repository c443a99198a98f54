/**
 * Run by radv.ts in a process with RADV's null device as its Vulkan driver: compiles the kernels of the JSON file that
 * its argument names, one after another. What RADV says of each follows its name on stderr.
 */
import { readFileSync, writeSync } from 'node:fs'
import { create, globals } from 'webgpu'

Object.assign(globalThis, globals)
const gpu = create([])
// Dawn crashes the process when this object is collected.
Object.assign(globalThis, { gpu })
const adapter = await gpu.requestAdapter()
if (!adapter) throw new Error('no adapter')
const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = adapter.limits
/** @type {GPUFeatureName[]} */
const features = ['subgroups', 'shader-f16']
const device = await adapter.requestDevice({
  requiredFeatures: features.filter((name) => adapter.features.has(name)),
  requiredLimits: { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup },
})
writeSync(2, `@@DRIVER ${adapter.info.description}\n`)
/** @type {[name: string, code: string][]} */
const kernels = JSON.parse(readFileSync(process.argv[2], 'utf8'))
for (const [name, code] of kernels) {
  writeSync(2, `@@KERNEL ${name}\n`)
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code })
  try {
    await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  } catch (error) {
    writeSync(2, `@@REFUSED ${String(error).replaceAll('\n', ' ')}\n`)
  }
  await device.popErrorScope()
}
writeSync(2, '@@END\n')
process.exit(0)
