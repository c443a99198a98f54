/**
 * Prints what the library weighs in a browser: tensors with both backends and all their kernels, networks, samplers;
 * minified, and gzipped. `--parts` adds which files that is.
 *
 *     node scripts/size.js [--parts]
 */
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { generate } from './kernels.js'
import { root } from './steps.js'

await generate()
const { outputFiles: [bundle], metafile } = await build({
  stdin: { contents: ['tensor', 'nn', 'diffusion'].map((room) => `export * from './src/${room}/index.ts'`).join('\n'), resolveDir: root },
  bundle: true, minify: true, write: false, metafile: true, outdir: root, format: 'esm', platform: 'browser', legalComments: 'none', logLevel: 'error',
  alias: { '#platform': join(root, 'src/tensor/webgpu/platform.ts') },
})
const kilobytes = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(1)} KB`
console.log(`The library, minified: ${kilobytes(bundle.contents.length)}; gzipped: ${kilobytes(gzipSync(bundle.contents, { level: 9 }).length)}`)
if (process.argv.includes('--parts')) {
  const [output] = Object.values(metafile.outputs)
  const parts = Object.entries(output.inputs).map(([file, { bytesInOutput }]) => ({ file, bytes: bytesInOutput })).sort((a, b) => b.bytes - a.bytes)
  for (const { file, bytes } of parts) console.log(`${String(bytes).padStart(8)}  ${file}`)
}
