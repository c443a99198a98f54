/**
 * `npm test` and `npm run test:long`: install, lint, check the types, build, and run the tests, those of the
 * WGSL kernels on the machine's best Vulkan driver. Arguments go to vitest; `--project` says which of the two it
 * is (vitest.config.ts).
 */
import { join } from 'node:path'
import { build, install, outliveReaders, requireNode, root, run, stop } from './steps.js'
import { vulkanEnvironment } from './vulkan.js'

requireNode()
outliveReaders()
await install()
const { generate } = await import('./kernels.js')
await generate().catch((/** @type {Error} */ error) => stop(error.message))
const modules = join(root, 'node_modules')
if (
  (await run(process.execPath, [join(modules, '@biomejs/biome/bin/biome'), 'check', '--error-on-warnings'], {
    cwd: root,
  })) !== 0
)
  stop('npm run format lays the sources out; what else is said is for a person.')
if ((await run(process.execPath, [join(modules, 'typescript/bin/tsc'), '--noEmit'], { cwd: root })) !== 0)
  stop('The types do not fit.')
await build()
const env = vulkanEnvironment({ verbose: true })
process.exitCode = await run(process.execPath, [join(modules, 'vitest/vitest.mjs'), 'run', ...process.argv.slice(2)], {
  cwd: root,
  env,
})
