/**
 * The ops whose launches look at what a device can do, on the drivers that `npm test` does not take: SwiftShader, whose
 * subgroups have 4 lanes, with every op once and every kernel of kernels.test.ts, and lavapipe with 16.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { swiftShaderEnvironment } from '../../scripts/vulkan.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

const swiftShader = swiftShaderEnvironment()
if (!swiftShader) throw new Error('SwiftShader comes with the development dependencies, and is not there.')

const ops = ['op-table', 'ops-attention', 'ops-conv', 'ops-group-norm', 'ops-matmul', 'long/kernels']
const rows: [string, readonly string[], NodeJS.ProcessEnv][] = [['SwiftShader, subgroups of 4', ops, swiftShader]]
// The driver that the environment names, as `npm test` chose it: on Mesa's the width of its vectors can be set.
if (/lvp/.test(process.env.VK_DRIVER_FILES ?? ''))
  rows.push(['lavapipe, subgroups of 16', ['ops-conv'], { LP_NATIVE_VECTOR_WIDTH: '512' }])

test.each(rows)('%s', { timeout: 3_600_000 }, async (_, names, environment) => {
  const env: NodeJS.ProcessEnv = { ...process.env, TWEEDIE_BACKEND: 'webgpu', ...environment }
  // What vitest tells its workers is not for another vitest.
  for (const name of Object.keys(env))
    if (/^(VITEST|NODE_OPTIONS|NODE_CHANNEL|TWEEDIE_LONG)/.test(name)) delete env[name]
  const files = names.map((name) => `test/${name}.test.ts`)
  const child = spawn('npx', ['vitest', 'run', '--maxWorkers=1', ...files], { cwd: root, env })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => void (said += text))
  onTestFinished(() => void child.kill())
  const status = await new Promise((resolve) => child.on('close', resolve))
  expect(status, said.slice(-8000)).toBe(0)
})
