/** `npm start`: from a fresh clone to pictures: installs, builds, draws. Arguments go to `tweedie quickstart`. */
import { join } from 'node:path'
import { build, install, outliveReaders, requireNode, root, run } from './steps.js'

requireNode()
outliveReaders()
await install()
await build()
process.exitCode = await run(process.execPath, [join(root, 'bin/tweedie.js'), 'quickstart', ...process.argv.slice(2)])
