/**
 * `npm test` and `npm run test:long`: install, lint, check the types, build, and run the tests, those of the WGSL
 * kernels on the machine's best Vulkan driver. Arguments go to vitest; `--project` says which of the two it is
 * (vitest.config.ts).
 */
import { join } from 'node:path'
import { build, install, outliveReaders, requireNode, root, run, stop } from './steps.js'
import { vulkanEnvironment } from './vulkan.js'

requireNode()
outliveReaders()
await install()
const { generate } = await import('./kernels.js')
await generate().catch((/** @type {Error} */ error) => stop(error.message))
/** Runs a tool of node_modules on the clone. @param {string} path @param {string[]} args */
const tool = (path, ...args) => run(process.execPath, [join(root, 'node_modules', path), ...args], { cwd: root })
if ((await tool('@biomejs/biome/bin/biome', 'check', '--error-on-warnings')) !== 0)
  stop('The sources are not as npm run format lays them out, or break a rule of biome.jsonc.')
if ((await tool('typescript/bin/tsc', '--noEmit')) !== 0) stop('The types do not fit.')
await build()
const env = vulkanEnvironment({ verbose: true })
const vitest = join(root, 'node_modules/vitest/vitest.mjs')
process.exitCode = await run(process.execPath, [vitest, 'run', ...process.argv.slice(2)], { cwd: root, env })
