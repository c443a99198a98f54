/**
 * Prints what the library weighs in a page, minified, and gzipped: in a bundle of one file, and what is fetched where
 * the backends are chunks, as in the package's own `tweedie.min.js`. `--parts` adds which files the whole library is.
 *
 *     node scripts/size.js [--parts]
 */
import { basename } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { chunked, options } from './bundle.js'
import { generate } from './kernels.js'
import { root } from './steps.js'

const kilobytes = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(1)} KB`.padStart(9)
/** @param {string} name @param {readonly Uint8Array[]} files */
function print(name, files) {
  const sum = (/** @type {readonly Uint8Array[]} */ of) => of.reduce((total, { length }) => total + length, 0)
  console.log(
    `${name.padEnd(46)} ${kilobytes(sum(files))} minified ` +
      `${kilobytes(sum(files.map((file) => gzipSync(file, { level: 9 }))))} gzipped`,
  )
}

const functions =
  '{ describeModel, Device, diffusionOf, GeneratedNoise, loadModel, openCheckpoint, sample, selfGuidance, urlSource }'
/** Programs by what they use of the package. */
const programs = {
  everything: "export * from './src/index.ts'",
  'GPU only (tweedie/webgpu)': "export * from './src/webgpu.ts'",
  'CPU only (tweedie/cpu)': "export * from './src/cpu.ts'",
  'without training: Tweedie.load, sample, score': "export { Tweedie } from './src/index.ts'",
  'the same, GPU only': "export { Tweedie } from './src/webgpu.ts'",
  'the same, CPU only': "export { Tweedie } from './src/cpu.ts'",
  'loadModel and sample by themselves, GPU only': `export ${functions} from './src/webgpu.ts'`,
}

await generate()
for (const [name, contents] of Object.entries(programs)) {
  const {
    outputFiles: [bundle],
    metafile,
  } = await build({ ...options, write: false, stdin: { contents, resolveDir: root } })
  print(name, [bundle.contents])
  if (name !== 'everything' || !process.argv.includes('--parts')) continue
  const [output] = Object.values(metafile.outputs)
  const parts = Object.entries(output.inputs)
    .map(([file, { bytesInOutput }]) => ({ file, bytes: bytesInOutput }))
    .sort((a, b) => b.bytes - a.bytes)
  for (const { file, bytes } of parts) console.log(`${String(bytes).padStart(8)}  ${file}`)
}

const {
  outputFiles,
  metafile: { outputs },
} = await build({ ...chunked, write: false, outdir: root })
/** The chunk `path` and all it imports at once. @param {string} path @param {Set<string>} [seen] */
function fetched(path, seen = new Set()) {
  if (seen.has(path)) return seen
  seen.add(path)
  for (const { path: next, kind } of outputs[path]?.imports ?? []) if (kind === 'import-statement') fetched(next, seen)
  return seen
}
const of = (/** @type {string} */ source) =>
  Object.keys(outputs).find((path) => outputs[path]?.entryPoint === source) ?? ''
const contents = (/** @type {Set<string>} */ paths) =>
  outputFiles
    .filter(({ path }) => [...paths].some((one) => basename(one) === basename(path)))
    .map((file) => file.contents)
const entry = fetched(of('src/index.ts'))
print('tweedie.min.js before a device', contents(entry))
print('tweedie.min.js with the GPU', contents(fetched(of('src/tensor/webgpu/request.ts'), new Set(entry))))
print('tweedie.min.js with the CPU', contents(fetched(of('src/tensor/cpu/request.ts'), new Set(entry))))
