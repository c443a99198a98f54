/**
 * Every op test by the kernels of devices that CI does not have: on both software drivers as they are, as a GPU is
 * given them (`TWEEDIE_CAPABILITIES`, see test/op.ts), and with the other widths of subgroups that lavapipe can be made
 * to have. `npm test` runs the first of these rows, and of the others what branches.
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { swiftShaderEnvironment } from '../../scripts/vulkan.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const files = [
  ...readdirSync(join(root, 'test')).filter((name) => /^ops-.*\.test\.ts$/.test(name)),
  'op-table.test.ts',
  'conv2d-kernels.test.ts',
].map((name) => `test/${name}`)

const swiftShader = swiftShaderEnvironment()
if (!swiftShader) throw new Error('SwiftShader comes with the development dependencies, and is not there.')

const hardware = { TWEEDIE_CAPABILITIES: 'hardware' }
const rows: [string, NodeJS.ProcessEnv][] = [
  ['SwiftShader, subgroups of 4', swiftShader],
  ['SwiftShader, as hardware', { ...swiftShader, ...hardware }],
]
// The driver that the environment names, as `npm test` chose it: on Mesa's the width of its vectors can be set.
if (/lvp/.test(process.env.VK_DRIVER_FILES ?? ''))
  rows.push(
    ['lavapipe, as hardware', hardware],
    ['lavapipe, subgroups of 4', { LP_NATIVE_VECTOR_WIDTH: '128' }],
    ['lavapipe, subgroups of 16', { LP_NATIVE_VECTOR_WIDTH: '512' }],
  )

test.each(rows)('every op on %s', { timeout: 3_600_000 }, async (_, environment) => {
  const env: NodeJS.ProcessEnv = { ...process.env, TWEEDIE_BACKEND: 'webgpu', ...environment }
  // What vitest tells its workers is not for another vitest; nor are all tiles of a kernel for every driver.
  for (const name of Object.keys(env))
    if (/^(VITEST|NODE_OPTIONS|NODE_CHANNEL|TWEEDIE_LONG)/.test(name)) delete env[name]
  const child = spawn('npx', ['vitest', 'run', '--project', 'tests', '--maxWorkers=1', ...files], { cwd: root, env })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => void (said += text))
  onTestFinished(() => void child.kill())
  const status = await new Promise((resolve) => child.on('close', resolve))
  expect(status, said.slice(-8000)).toBe(0)
})
