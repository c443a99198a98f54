/**
 * What the build bundles, where the rest of `dist/` has one module a source file and imports packages: the library for
 * `<script type="module">`, whose backends are chunks that a page fetches when it uses them, the client for pages and
 * its worker, and what draws charts.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { hasKernels, shortenKernels } from './shaders.js'
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
    plugins: [
      {
        name: 'short kernels',
        setup: ({ onLoad }) =>
          onLoad({ filter: /src[/\\]shaders[/\\]/ }, ({ path }) =>
            hasKernels(path) ? { contents: shortenKernels(readFileSync(path, 'utf8')), loader: 'ts' } : null,
          ),
      },
    ],
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
 * The client and its worker, each one file: Vite makes workers without chunks, and one file is served, allowed and
 * copied more easily than four.
 *
 * @satisfies {import('esbuild').BuildOptions}
 */
export const client = {
  ...options,
  entryPoints: { 'client.min': 'src/client/index.ts', 'worker.min': 'src/client/worker.ts' },
  plugins: [
    ...options.plugins,
    {
      // Of dist/client the worker lies in a folder beside, of the bundled client in its own, whatever that is called.
      name: 'worker beside the client',
      setup: ({ onLoad }) =>
        onLoad({ filter: /src[/\\]client[/\\]client\.ts$/ }, ({ path }) => ({
          contents: readFileSync(path, 'utf8').replace("'../browser/worker.min.js'", "'./worker.min.js'"),
          loader: 'ts',
        })),
    },
  ],
}

/**
 * Writes `tweedie.min.js` and its chunks, `client.min.js` and `worker.min.js`, and the licences of what is in them.
 *
 * @param {string} folder
 */
export async function bundle(folder) {
  const made = await Promise.all([chunked, client].map((one) => build({ ...one, outdir: folder })))
  writeLicences(join(folder, 'LICENSES.txt'), [root, ...packagesIn(made.map(({ metafile }) => metafile))])
}

/**
 * Shortens the kernels that were compiled into `dist`.
 *
 * @param {string} dist
 */
export function shortenAll(dist) {
  const folder = join(dist, 'shaders')
  for (const file of readdirSync(folder).map((name) => join(folder, name)))
    if (hasKernels(file)) writeFileSync(file, shortenKernels(readFileSync(file, 'utf8')))
}

/**
 * Writes the program of the CPU backend's threads as a file, for pages that forbid `blob:`. It is the text that the
 * library would make a `blob:` of.
 *
 * @param {string} dist Compiled already.
 */
export async function writeWorker(dist) {
  const { workerSource } = await import(pathToFileURL(join(dist, 'tensor/cpu/generated/worker.js')).href)
  mkdirSync(join(dist, 'browser'), { recursive: true })
  writeFileSync(join(dist, 'browser/cpu-worker.js'), workerSource)
}

/**
 * Puts the packages that a compiled module imports into it, and their licences beside it.
 *
 * @param {string} file
 */
export async function bundlePackages(file) {
  const { metafile } = await build({
    ...options,
    platform: 'node',
    entryPoints: [file],
    outfile: file,
    allowOverwrite: true,
  })
  writeLicences(join(dirname(file), 'LICENSES.txt'), packagesIn([metafile]))
}

/**
 * Folders of the packages in bundles. One may lie in another's.
 *
 * @param {readonly import('esbuild').Metafile[]} metafiles
 */
function packagesIn(metafiles) {
  const files = metafiles.flatMap(({ inputs }) => Object.keys(inputs))
  const folders = files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? [])
  return [...new Set(folders)].sort().map((folder) => join(root, folder))
}

/**
 * @param {string} file
 * @param {string[]} folders Of packages.
 */
const writeLicences = (file, folders) => writeFileSync(file, folders.map(licence).join('\n'))

/** @param {string} folder Of a package. */
function licence(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file))
  return `${name} ${version}: ${license}\n\n${file ? readFileSync(join(folder, file), 'utf8').trim() : ''}\n`
}
