/**
 * Prints what the library weighs in a page, minified and gzipped, and how that differs from what bench/sizes.json says
 * it weighed last. A program is bundled into one file, or with chunks, of which those count that it fetches until it
 * computes. Fails where something has grown by more than 1 KB: `--write` is the way to say that it may. `--parts` adds
 * which files the whole library is.
 *
 *     node scripts/size.js [--write] [--parts]
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { client, options } from './bundle.js'
import { generate } from './kernels.js'
import { root } from './steps.js'

const file = join(root, 'bench/sizes.json')
/** Gzipped bytes by what was measured. @type {Record<string, number>} */
const last = JSON.parse(readFileSync(file, 'utf8'))
/** @type {Record<string, number>} */
const now = {}
/** Bytes, gzipped, that something may grow by unnoticed. */
const allowed = 1000
/** @type {string[]} */
const grown = []

/** @param {string} name @param {readonly Uint8Array[]} files */
function print(name, files) {
  const sum = (/** @type {(file: Uint8Array) => number} */ of) => files.reduce((total, file) => total + of(file), 0)
  const gzipped = sum((file) => gzipSync(file, { level: 9 }).length)
  const change = name in last ? gzipped - last[name] : 0
  if (change > allowed) grown.push(name)
  now[name] = gzipped
  const kilobytes = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(1)} KB`.padStart(9)
  const sign = change > 0 ? '+' : ''
  const compared = name in last ? (change === 0 ? '' : `  ${sign}${(change / 1000).toFixed(1)}`) : '  new'
  console.log(
    `${name.padEnd(54)} ${kilobytes(sum(({ length }) => length))} minified ${kilobytes(gzipped)} gzipped${compared}`,
  )
}

const functions =
  '{ describeModel, Device, diffusionOf, GeneratedNoise, loadModel, openCheckpoint, sample, selfGuidance, urlSource }'

/** Programs in one file, by what they use of the package. */
const whole = {
  everything: "export * from './src/index.ts'",
  'everything, GPU only (tweedie/webgpu)': "export * from './src/webgpu.ts'",
  'everything, CPU only (tweedie/cpu)': "export * from './src/cpu.ts'",
  'Tweedie (load, sample, score)': "export { Tweedie } from './src/index.ts'",
  'loadModel and sample': `export ${functions} from './src/index.ts'`,
  'loadModel and sample, GPU only': `export ${functions} from './src/webgpu.ts'`,
  'loadModel and sample, CPU only': `export ${functions} from './src/cpu.ts'`,
}
/** Programs with chunks. */
const chunked = {
  'tweedie.min.js': whole.everything,
  Tweedie: whole['Tweedie (load, sample, score)'],
  'loadModel and sample': whole['loadModel and sample'],
}

await generate()
for (const [name, contents] of Object.entries(whole)) {
  const {
    outputFiles: [bundle],
    metafile,
  } = await build({ ...options, write: false, stdin: { contents, resolveDir: root } })
  print(`${name}, one file`, [bundle.contents])
  if (name !== 'everything' || !process.argv.includes('--parts')) continue
  const [output] = Object.values(metafile.outputs)
  const parts = Object.entries(output.inputs)
    .map(([file, { bytesInOutput }]) => ({ file, bytes: bytesInOutput }))
    .sort((a, b) => b.bytes - a.bytes)
  for (const { file, bytes } of parts) console.log(`${String(bytes).padStart(8)}  ${file}`)
}
const gpu = ['src/tensor/webgpu/request.ts']
const cpu = ['src/tensor/cpu/request.ts', 'src/tensor/cpu/generated/module.ts']
for (const [name, contents] of Object.entries(chunked)) {
  const fetched = await chunksOf(contents)
  print(`${name}, fetched before a device`, fetched())
  print(`${name}, fetched with the GPU`, fetched(...gpu))
  print(`${name}, fetched with the CPU`, fetched(...cpu))
  print(`${name}, fetched with both`, fetched(...gpu, ...cpu))
}
print('loadModel and sample, GPU only, fetched', (await chunksOf(whole['loadModel and sample, GPU only']))(...gpu))
print('loadModel and sample, CPU only, fetched', (await chunksOf(whole['loadModel and sample, CPU only']))(...cpu))
for (const { path, contents } of (await build({ ...client, write: false, outdir: root })).outputFiles)
  print(path.slice(root.length), [contents])

if (process.argv.includes('--write')) writeFileSync(file, `${JSON.stringify(now, null, 2)}\n`)
else if (grown.length > 0) {
  console.error(
    `Grown by more than ${allowed / 1000} KB: ${grown.join('; ')}. If that is meant: node scripts/size.js --write`,
  )
  process.exitCode = 1
}

/** What a program with chunks fetches at first, and with the code of backends. @param {string} contents */
async function chunksOf(contents) {
  const {
    outputFiles,
    metafile: { outputs },
  } = await build({
    ...options,
    splitting: true,
    chunkNames: '[name]-[hash]',
    write: false,
    outdir: root,
    stdin: { contents, resolveDir: root },
  })
  /** The chunk `path` and all it imports at once. @param {string} path @param {Set<string>} seen */
  const closure = (path, seen) => {
    if (seen.has(path)) return seen
    seen.add(path)
    for (const { path: next, kind } of outputs[path]?.imports ?? [])
      if (kind === 'import-statement') closure(next, seen)
    return seen
  }
  const ofEntry = (/** @type {string} */ source) =>
    Object.keys(outputs).find((path) => outputs[path]?.entryPoint === source) ?? ''
  return (/** @type {string[]} */ ...backends) => {
    const paths = ['<stdin>', ...backends].reduce((seen, source) => closure(ofEntry(source), seen), new Set())
    return outputFiles.filter(({ path }) => paths.has(path.slice(root.length))).map((file) => file.contents)
  }
}
