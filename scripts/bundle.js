/**
 * The library for `<script type="module">`, made by the build: minified modules that import nothing but each
 * other, where `dist/` has one module a source file and imports packages. Each backend is a chunk that a page
 * fetches when it uses it.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { root } from './steps.js'

/** How the library is bundled for pages. */
export const options = /** @satisfies {import('esbuild').BuildOptions} */ (
  /** @type {const} */ ({
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    legalComments: 'none',
    logLevel: 'error',
    metafile: true,
    absWorkingDir: root,
  })
)
/** @satisfies {import('esbuild').BuildOptions} */
export const chunked = {
  ...options,
  entryPoints: { 'tweedie.min': 'src/index.ts' },
  splitting: true,
  chunkNames: '[name]-[hash]',
}

/**
 * Writes `tweedie.min.js`, its chunks, and the licences of what is in them.
 *
 * @param {string} folder
 */
export async function bundle(folder) {
  const { metafile } = await build({ ...chunked, outdir: folder })
  const packages = new Set(
    Object.keys(metafile.inputs).flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []),
  )
  writeFileSync(join(folder, 'LICENSES.txt'), ['tweedie', ...[...packages].sort()].map(licence).join('\n'))
}

/** @param {string} name */
function licence(name) {
  const folder = name === 'tweedie' ? root : join(root, 'node_modules', name)
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file))
  return `${name} ${version}: ${license}\n\n${file ? readFileSync(join(folder, file), 'utf8').trim() : ''}\n`
}
