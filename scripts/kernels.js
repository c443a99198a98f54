/**
 * Makes `src/tensor/cpu/generated/`: the WebAssembly kernels (from src/wasm, by AssemblyScript, once with plain and once
 * with relaxed SIMD) and the workers' program, as strings in modules. Run by the build, the tests and the benches; does
 * nothing where nothing changed.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const wasm = join(root, 'src/wasm')
const cpu = join(root, 'src/tensor/cpu')
const generated = join(cpu, 'generated')

/** @param {string} folder */
const sources = (folder) => readdirSync(folder).filter((name) => name.endsWith('.ts')).map((name) => join(folder, name))

/** @param {string[]} files @param {string} target */
const isFresh = (files, target) => existsSync(target) && [...files, fileURLToPath(import.meta.url)].every((file) => statSync(file).mtimeMs < statSync(target).mtimeMs)

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

/**
 * In a process of its own, so that both variants are compiled at once.
 *
 * @param {string} name @param {string[]} extra @returns {Promise<Buffer<ArrayBuffer>>}
 */
async function compile(name, ...extra) {
  mkdirSync(generated, { recursive: true })
  const file = join(generated, `${name}-${process.pid}.tmp`)
  const options = ['index.ts', '--outFile', file, '-O3', '--noAssert', '--runtime', 'stub', '--noExportMemory', '--importMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536', '--memoryBase', '1024', '--enable', 'simd', '--enable', 'threads', ...extra, '--baseDir', wasm]
  try {
    await promisify(execFile)(process.execPath, [join(root, 'node_modules/assemblyscript/bin/asc.js'), ...options], { cwd: wasm })
    return readFileSync(file)
  } catch (error) {
    throw new Error(`The WebAssembly kernels do not compile:\n${/** @type {{ stderr?: string }} */ (error).stderr || error}`)
  } finally {
    rmSync(file, { force: true })
  }
}

async function kernels() {
  if (isFresh(sources(wasm), join(generated, 'kernels.ts'))) return
  console.error('Compiling the WebAssembly kernels ...')
  const started = new Date()
  const [plain, relaxed] = await Promise.all([compile('plain'), compile('relaxed', '--enable', 'relaxed-simd')])
  const names = WebAssembly.Module.exports(new WebAssembly.Module(plain)).map(({ name }) => name)
  const text = [
    '/** Made by scripts/kernels.js from src/wasm. The names are the exports of both modules, in order. */',
    `export const kernelNames = ${JSON.stringify(names)} as const`,
    'export type KernelName = (typeof kernelNames)[number]',
    `export const plain = '${plain.toString('base64')}'`,
    `export const relaxed = '${relaxed.toString('base64')}'`,
  ]
  write('kernels.ts', `${text.join('\n')}\n`, started)
}

async function worker() {
  if (isFresh(['worker-main.ts', 'worker.ts', 'protocol.ts'].map((name) => join(cpu, name)), join(generated, 'worker.ts'))) return
  const started = new Date()
  const { build } = await import('esbuild')
  const { outputFiles } = await build({ entryPoints: [join(cpu, 'worker-main.ts')], bundle: true, minify: true, format: 'iife', target: 'es2022', external: ['node:worker_threads'], write: false })
  write('worker.ts', `/** Made by scripts/kernels.js from worker-main.ts: the program of a worker. */\nexport const workerSource = ${JSON.stringify(outputFiles[0].text)}\n`, started)
}

/** Makes what is missing or older than its sources. */
export async function generate() {
  await Promise.all([kernels(), worker()])
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await generate()
