/**
 * The networks' kernels, compiled for other GPUs than the one of test/gpu-static.test.ts, and by naga, Firefox's
 * compiler of WGSL, which Deno has, too.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { networkKernels } from '../../bench/gpu/passes.ts'
import { compile, families, missing } from '../../bench/gpu/radv.ts'
import { faults } from '../../bench/gpu/static-table.ts'
import { host, runtimes } from './hosts.ts'

const reason = missing()
if (reason && process.env.CI === 'true') throw new Error(`CI compiles the kernels with RADV: ${reason}`)

describe.skipIf(reason)(`no spills, at most 128 registers and 16 KiB${reason ? `: ${reason}` : ''}`, () => {
  test.each(families.filter((family) => family !== 'navi31'))('%s', async (family) => {
    expect(faults(compile(await networkKernels(), family).compiled)).toEqual([])
  })
})

const program = `
const device = await (await navigator.gpu.requestAdapter()).requestDevice()
const refused = []
for (const [key, code] of JSON.parse(await Deno.readTextFile(Deno.args[0]))) {
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code })
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const error = await device.popErrorScope()
  if (error) refused.push(key + ': ' + error.message)
}
console.log(JSON.stringify(refused))
Deno.exit(0)`

test('naga takes every kernel, and refuses what is no WGSL', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tweedie-naga-'))
  try {
    const wrong = '@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }'
    writeFileSync(join(folder, 'kernels.json'), JSON.stringify([...(await networkKernels()), ['wrong', wrong]]))
    writeFileSync(join(folder, 'naga.mjs'), program)
    const args = ['run', '--allow-read', '--unstable-webgpu', join(folder, 'naga.mjs'), join(folder, 'kernels.json')]
    const { stdout } = await promisify(execFile)(await host(runtimes.Deno), args, { env: process.env })
    expect(JSON.parse(stdout)).toEqual([expect.stringMatching(/^wrong: /)])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
