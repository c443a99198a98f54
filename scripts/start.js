/** `npm start`: from a fresh clone to pictures: installs, builds, draws. Arguments go to `tweedie quickstart`. */
import { join } from 'node:path'
import { build, install, requireNode, root, run } from './steps.js'

requireNode()
await install()
await build()
process.exitCode = await run(process.execPath, [join(root, 'bin/tweedie.js'), 'quickstart', ...process.argv.slice(2)])
