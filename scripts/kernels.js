/**
 * Makes `src/tensor/cpu/generated/`: the WebAssembly kernels (from src/wasm, by AssemblyScript, with relaxed SIMD;
 * src/tensor/cpu/plain-simd.ts derives the others) and the workers' program, as strings in modules, and the layouts of
 * the kernels' parameters. Run by the build, the tests and the benches; does nothing where nothing changed.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { deflateRawSync } from 'node:zlib'

const root = fileURLToPath(new URL('..', import.meta.url))
const wasm = join(root, 'src/wasm')
const cpu = join(root, 'src/tensor/cpu')
const generated = join(cpu, 'generated')

/** @param {string} folder */
const sources = (folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name))

const programs = ['kernels.js', 'params.js'].map((name) => join(root, 'scripts', name))

/** @param {string[]} files @param {string} target */
const isFresh = (files, target) =>
  existsSync(target) && [...files, ...programs].every((file) => statSync(file).mtimeMs < statSync(target).mtimeMs)

/**
 * Another process may be reading the file: it is replaced whole. A source saved while it was made is newer than it.
 *
 * @param {string} name @param {string} text @param {Date} started
 */
function write(name, text, started) {
  mkdirSync(generated, { recursive: true })
  const beside = join(generated, `${name}-${process.pid}.tmp`)
  writeFileSync(beside, text)
  utimesSync(beside, started, started)
  renameSync(beside, join(generated, name))
}

/** @returns {Promise<Buffer<ArrayBuffer>>} */
async function compile() {
  mkdirSync(generated, { recursive: true })
  const file = join(generated, `kernels-${process.pid}.wasm.tmp`)
  const options = [
    'index.ts',
    '--outFile',
    file,
    '-O3',
    '--converge',
    '--noAssert',
    '--runtime',
    'stub',
    '--noExportMemory',
    '--importMemory',
    '--sharedMemory',
    '--initialMemory',
    '1',
    '--maximumMemory',
    '65536',
    '--memoryBase',
    '1024',
    '--enable',
    'simd',
    '--enable',
    'threads',
    '--enable',
    'relaxed-simd',
    '--baseDir',
    wasm,
  ]
  try {
    await promisify(execFile)(process.execPath, [join(root, 'node_modules/assemblyscript/bin/asc.js'), ...options], {
      cwd: wasm,
    })
    // Once more over what the first pass made: half a percent, which costs a second.
    const features = ['simd', 'threads', 'relaxed-simd', 'bulk-memory'].map((name) => `--enable-${name}`)
    const optimizer = join(root, 'node_modules/binaryen/bin/wasm-opt')
    await promisify(execFile)(process.execPath, [optimizer, file, ...features, '-O3', '-o', file])
    return readFileSync(file)
  } catch (error) {
    throw new Error(
      `The WebAssembly kernels do not compile:\n${/** @type {{ stderr?: string }} */ (error).stderr || error}`,
    )
  } finally {
    rmSync(file, { force: true })
  }
}

/**
 * A module's exports, in order, and where their section lies. Node 20 does not compile relaxed SIMD, so they are read
 * here.
 *
 * @param {Uint8Array} module
 */
function exportsOf(module) {
  let at = 8
  const unsigned = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = module[at++] ?? 0
      value |= (byte & 127) << shift
      if (byte < 128) return value
    }
  }
  while (at < module.length) {
    const start = at
    const id = module[at++]
    const length = unsigned()
    const end = at + length
    if (id === 7) {
      const entries = Array.from({ length: unsigned() }, () => {
        const size = unsigned()
        const name = Buffer.from(module.subarray(at, at + size)).toString()
        at += size
        return { name, kind: module[at++] ?? 0, index: unsigned() }
      })
      return { start, end, entries }
    }
    at = end
  }
  throw new Error('The module exports nothing.')
}

/**
 * The module with its exports called 0, 1, 2 and so on: the library goes by their order.
 *
 * @param {Uint8Array} module
 * @param {ReturnType<typeof exportsOf>} exports
 */
function withoutNames(module, { start, end, entries }) {
  /** @param {number} value @returns {number[]} */
  const leb = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)])
  const numbered = entries.flatMap(({ kind, index }, number) => {
    const name = Buffer.from(String(number))
    return [name.length, ...name, kind, ...leb(index)]
  })
  const section = [...leb(entries.length), ...numbered]
  return Buffer.concat([
    module.subarray(0, start),
    Buffer.from([7, ...leb(section.length), ...section]),
    module.subarray(end),
  ])
}

async function kernels() {
  if (['params.ts', 'kernels.ts', 'module.ts'].every((name) => isFresh(sources(wasm), join(generated, name)))) return
  console.error('Compiling the WebAssembly kernels ...')
  const started = new Date()
  const module = await compile()
  const exports = exportsOf(module)
  const names = exports.entries.map(({ name }) => name)
  const numbered = withoutNames(module, exports)
  const text = [
    '/** Made by scripts/kernels.js from src/wasm. The names are its exports, in order. */',
    `export const kernelNames = ${JSON.stringify(names)} as const`,
    'export type KernelName = (typeof kernelNames)[number]',
  ]
  const deflated = deflateRawSync(numbered, { level: 9 }).toString('base64')
  const moduleText = [
    '/** Made by scripts/kernels.js from src/wasm: the module, deflated, in base64. */',
    `export const deflated: string = '${deflated}'`,
  ]
  const { paramsModule } = await import('./params.js')
  write(
    'params.ts',
    paramsModule(new Map(sources(wasm).map((file) => [basename(file), readFileSync(file, 'utf8')])), names),
    started,
  )
  write('kernels.ts', `${text.join('\n')}\n`, started)
  write('module.ts', `${moduleText.join('\n')}\n`, started)
}

async function worker() {
  const parts = ['worker-main.ts', 'worker.ts', 'protocol.ts'].map((name) => join(cpu, name))
  if (isFresh(parts, join(generated, 'worker.ts'))) return
  const started = new Date()
  const hash = createHash('sha256')
  for (const part of parts) hash.update(readFileSync(part))
  const program = JSON.stringify(hash.digest('hex').slice(0, 16))
  const { build } = await import('esbuild')
  const { outputFiles } = await build({
    entryPoints: [join(cpu, 'worker-main.ts')],
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2022',
    external: ['node:worker_threads'],
    define: { PROGRAM: program },
    write: false,
  })
  write(
    'worker.ts',
    [
      '/** Made by scripts/kernels.js from worker-main.ts: the program of a worker, and the name it gives itself. */',
      `export const workerSource: string = ${JSON.stringify(outputFiles[0].text)}`,
      `export const workerProgram: string = ${program}\n`,
    ].join('\n'),
    started,
  )
}

/** Makes what is missing or older than its sources. */
export async function generate() {
  await Promise.all([kernels(), worker()])
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await generate()
