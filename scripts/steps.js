/**
 * The steps that `npm start`, `npm test` and the command line share: check Node, install, build, run a child process.
 * Plain JavaScript on Node's own modules only, because it runs before anything is installed or built.
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
const modules = join(root, 'node_modules')
const dist = join(root, 'dist')

/** Ends the process with one line where Node is too old for the dependencies. */
export function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return
  console.error(`tweedie needs Node 20.19 or newer; this is Node ${process.versions.node}.`)
  process.exit(1)
}

/** True in a clone, false in an installed package, which has no sources. */
export const isClone = existsSync(join(root, 'src')) && existsSync(join(root, 'tsconfig.build.json'))

/**
 * Installs what the lockfile of a folder names, unless it is there already.
 *
 * @param {string} [folder] Default: the clone.
 */
export async function install(folder = root) {
  if (installed(folder)) return
  console.log(
    folder === root
      ? 'Installing the dependencies (about 400 MB on disk, most of it the compiler of the ' +
          'kernels and WebGPU for Node) ...'
      : `Installing the dependencies of ${folder} ...`,
  )
  const start = Date.now()
  // npm draws its own progress on a terminal; elsewhere it is silent for a minute.
  const beat = setInterval(
    () => process.stdout.isTTY || console.log(`  npm ci, ${Math.round((Date.now() - start) / 1000)} s`),
    10_000,
  )
  const npm = process.env.npm_execpath
  // No package here needs its install script: webgpu's lifts a quarantine that npm's downloads do not have,
  // esbuild's is a shortcut.
  const options = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--no-update-notifier']
  const code = npm?.endsWith('.js')
    ? await run(process.execPath, [npm, ...options], { cwd: folder })
    : await run('npm', options, { cwd: folder, shell: process.platform === 'win32' })
  clearInterval(beat)
  if (code > 128) process.exit(code) // interrupted
  if (code !== 0) stop(`npm ci failed (exit code ${code}).`)
}

/** Whether a folder's node_modules holds its lockfile's versions. Times would lie: a checkout touches the lockfile. */
export function installed(folder = root) {
  /** @param {string} path @returns {Record<string, { version: string, optional?: boolean }>} */
  const packages = (path) => JSON.parse(readFileSync(path, 'utf8')).packages
  try {
    const have = packages(join(folder, 'node_modules/.package-lock.json'))
    return Object.entries(packages(join(folder, 'package-lock.json'))).every(
      ([path, want]) => path === '' || (have[path] ? have[path].version === want.version : want.optional === true),
    )
  } catch {
    return false
  }
}

/**
 * Compiles src/ to dist/ where it is newer. The whole folder is replaced at once, so that no one runs half of it. Types
 * are checked by `npm test`, not here: that halves the 11 seconds.
 */
export async function build() {
  const { generate } = await import('./kernels.js')
  await generate().catch((/** @type {Error} */ error) => stop(error.message))
  const entry = 'index.js'
  const built = join(dist, entry)
  if (existsSync(built) && newest() < statSync(built).mtimeMs) return
  console.error('Building tweedie ...')
  const fresh = join(root, `dist-${process.pid}.tmp`)
  const started = new Date()
  const code = await run(
    process.execPath,
    [join(modules, 'typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', fresh, '--noCheck'],
    { cwd: root },
  )
  if (code !== 0) {
    rmSync(fresh, { recursive: true, force: true })
    if (code > 128) process.exit(code)
    stop('tweedie does not compile.')
  }
  const { bundle, bundlePackages, shortenAll, writeWorker } = await import('./bundle.js')
  shortenAll(fresh)
  await Promise.all([
    bundle(join(fresh, 'browser')),
    writeWorker(fresh),
    bundlePackages(join(fresh, 'cli/pages/plot.js')),
  ]).catch((/** @type {Error} */ error) => stop(error.message))
  // says when it was built: a file saved while the compiler ran is newer
  utimesSync(join(fresh, entry), started, started)
  const old = join(root, `dist-${process.pid}-old.tmp`)
  try {
    if (existsSync(dist)) renameSync(dist, old)
    renameSync(fresh, dist)
  } catch (error) {
    // Another process built at the same time: one build is as good as the other.
    rmSync(fresh, { recursive: true, force: true })
    if (!existsSync(built)) throw error
  }
  rmSync(old, { recursive: true, force: true })
}

/** The time of the last change to anything the build reads. */
function newest() {
  const source = join(root, 'src')
  const files = readdirSync(source, { recursive: true }).map((name) => join(source, String(name)))
  return Math.max(
    ...[source, ...files, join(root, 'tsconfig.json'), join(root, 'tsconfig.build.json')].map(
      (file) => statSync(file).mtimeMs,
    ),
  )
}

/**
 * Runs a child with this process's streams and hands it our signals.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{ env?: Record<string, string>, cwd?: string, shell?: boolean }} [options] `env` is added to the environment.
 * @returns {Promise<number>} its exit code; 128 + number of the signal that ended it.
 */
export function run(command, args, { env = {}, cwd = process.cwd(), shell = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: 'inherit', env: { ...process.env, ...env }, shell })
    /** @param {NodeJS.Signals} signal */
    const pass = (signal) => {
      // Ctrl-C at a terminal, and its end, reach the child by themselves, and twice would mean "at once".
      if (signal === 'SIGTERM' || !process.stdin.isTTY) child.kill(signal)
    }
    /** @type {NodeJS.Signals[]} */
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
    for (const signal of signals) process.on(signal, pass)
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      for (const name of signals) process.off(name, pass)
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0))
    })
  })
}

/**
 * Work does not end because nobody reads on: a closed terminal, `tweedie info | head`, `2>&1 | head`, a full disk
 * under the log. What is written goes nowhere from then on. Standard output that a disk had no room for is a
 * failure all the same.
 */
export function outliveReaders() {
  process.stderr.on('error', () => {})
  process.stdout.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
    // A closed pipe, and a terminal that is no more.
    if (error.code === 'EPIPE' || error.code === 'EIO' || process.listenerCount('exit', incomplete) > 0) return
    process.on('exit', incomplete)
  })
}

function incomplete() {
  console.error('Standard output is incomplete: it could not be written.')
  process.exitCode ||= 1
}

/**
 * @param {string} message
 * @returns {never}
 */
export function stop(message) {
  console.error(message)
  process.exit(1)
}
