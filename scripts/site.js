/**
 * `npm run site`: the site as static files in `site/dist`, for any web server. Arguments go to VitePress: `--base
 * /tweedie/` for a site that is not at its server's root. `npm run site dev` serves it while it is written.
 */
import { existsSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { build, install, requireNode, root, run, stop } from './steps.js'

requireNode()
await install()
await build()
// The reference is pages of the site.
const typedoc = join(root, 'node_modules/typedoc/bin/typedoc')
if ((await run(process.execPath, [typedoc], { cwd: root })) !== 0) stop('The API reference could not be made.')
const site = join(root, 'site')
await install(site)
// The pages import the library by its name, as any embedder does.
const link = join(site, 'node_modules/tweedie')
if (!existsSync(link)) symlinkSync(root, link, 'junction')
const vitepress = join(site, 'node_modules/vitepress/bin/vitepress.js')
const [first, ...rest] = process.argv.slice(2)
const builds = first !== 'dev' && first !== 'preview'
// TypeScript itself does not read .vue files.
const check = [join(site, 'node_modules/vue-tsc/bin/vue-tsc.js'), '--project', site]
if (builds && (await run(process.execPath, check)) !== 0) stop('The types of the site are wrong.')
const words = builds ? ['build', site, ...process.argv.slice(2)] : [first, site, ...rest]
process.exitCode = await run(process.execPath, [vitepress, ...words])
