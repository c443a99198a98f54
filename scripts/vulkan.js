/**
 * Which Vulkan driver the WGSL kernels are tested on, on Linux; nothing else needs one. Dawn finds drivers through the
 * Vulkan loader, which reads LD_LIBRARY_PATH when the process starts and VK_DRIVER_FILES after; so `npm test` asks here
 * for an environment and starts the tests in it.
 *
 * What the user has set is respected. Else the system's driver is used if it works: hardware, or lavapipe 25 and newer
 * (older ones lack what Dawn needs). Else SwiftShader, a software driver, with its loader: the development dependency
 * @sparticuz/chromium carries both. "Works" is found out by computing something in a child process, once: the answer is
 * kept beside the unpacked driver until a driver is installed or removed.
 *
 *     node scripts/vulkan.js      says which driver it is, and the environment
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  existsSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliDecompressSync } from 'node:zlib'

const here = dirname(fileURLToPath(import.meta.url))
const cache = join(here, '..', 'node_modules', '.cache', 'tweedie')

/**
 * The variables to start a computing process with; none where the system's driver serves.
 *
 * @param {{ verbose?: boolean }} [options] `verbose` says on stderr which driver it is.
 * @returns {Record<string, string>}
 */
export function vulkanEnvironment({ verbose = false } = {}) {
  /** @param {string} what @param {Record<string, string>} env */
  const answer = (what, env = {}) => {
    if (verbose) console.error(`Vulkan driver: ${what}`)
    return env
  }
  if (process.platform !== 'linux') return answer("the system's")
  const chosen = process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES
  if (chosen) return answer(`${chosen}, as the environment says`)
  const system = systemAdapter()
  if (system) return answer(`the system's, ${system}`)
  const swiftShader = swiftShaderEnvironment()
  return swiftShader
    ? answer('SwiftShader', swiftShader)
    : answer("the system's, though it did not compute: SwiftShader is not there, or not for this processor")
}

/** The environment that makes a process compute on SwiftShader; null where there is none. */
export function swiftShaderEnvironment() {
  const folder = unpackSwiftShader()
  if (!folder) return null
  const paths = [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter)
  return { VK_DRIVER_FILES: join(folder, 'vk_swiftshader_icd.json'), LD_LIBRARY_PATH: paths }
}

/** The adapter that the system's loader and drivers offer, if it computes and is no SwiftShader; else ''. */
function systemAdapter() {
  const file = join(cache, `adapter-${fingerprint()}.txt`)
  if (existsSync(file)) return readFileSync(file, 'utf8')
  let adapter = ''
  try {
    adapter = execFileSync(process.execPath, [join(here, 'probe.js')], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 60_000,
    }).trim()
  } catch {
    // No loader, no driver, a driver that crashes: all the same here.
  }
  try {
    mkdirSync(cache, { recursive: true })
    writeFileSync(`${file}.${process.pid}.tmp`, adapter)
    renameSync(`${file}.${process.pid}.tmp`, file)
  } catch {
    // A folder that cannot be written: the next process asks again.
  }
  return adapter
}

/** Changes when a loader, driver or graphics device comes or goes. */
function fingerprint() {
  const {
    LD_LIBRARY_PATH = '',
    XDG_DATA_DIRS = '/usr/local/share:/usr/share',
    XDG_DATA_HOME = join(homedir(), '.local/share'),
  } = process.env
  const data = [...XDG_DATA_DIRS.split(':'), XDG_DATA_HOME, '/etc', '/usr/share']
  const libraries = [
    ...LD_LIBRARY_PATH.split(':'),
    '/usr/lib',
    '/usr/lib64',
    '/lib',
    `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`,
  ]
  const hash = createHash('sha256').update(JSON.stringify([LD_LIBRARY_PATH, process.version, process.arch]))
  for (const folder of [...data.map((path) => join(path, 'vulkan/icd.d')), ...libraries, '/dev', '/dev/dri', here]) {
    for (const name of list(folder).filter(
      (name) => folder.endsWith('icd.d') || /^libvulkan|^nvidia|^render|^dxg|^probe/.test(name),
    )) {
      const { mtimeMs, size } = statSync(join(folder, name), { throwIfNoEntry: false }) ?? { mtimeMs: 0, size: 0 }
      // A device's time changes with its use.
      hash.update(JSON.stringify([folder, name, folder.startsWith('/dev') ? 0 : mtimeMs, size]))
    }
  }
  return hash.digest('hex').slice(0, 16)
}

/** @param {string} folder */
function list(folder) {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}

/** The folder with SwiftShader, its description and a Vulkan loader, unpacked if need be; '' where there is none. */
function unpackSwiftShader() {
  if (process.arch !== 'x64') return ''
  let bin
  try {
    bin = join(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')), '../../bin')
  } catch {
    return ''
  }
  const folder = join(cache, 'swiftshader')
  if (existsSync(folder)) return folder
  mkdirSync(cache, { recursive: true })
  const fresh = mkdtempSync(join(cache, 'swiftshader-'))
  for (const [name, bytes] of untar(brotliDecompressSync(readFileSync(join(bin, 'swiftshader.tar.br'))))) {
    if (/vulkan|vk_swiftshader/.test(name)) writeFileSync(join(fresh, name), bytes)
  }
  try {
    renameSync(fresh, folder)
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    if (!existsSync(folder)) throw error // else another process was faster
  }
  return folder
}

/**
 * The files of a tar archive: 512-byte headers with the name at 0 and the size, octal, at 124; contents padded to 512.
 *
 * @param {Buffer} tar
 * @returns {Generator<[string, Buffer]>}
 */
function* untar(tar) {
  for (let at = 0; at < tar.length && tar[at] !== 0; ) {
    const name = tar.toString('latin1', at, at + 100).split('\0', 1)[0]
    const size = parseInt(tar.toString('latin1', at + 124, at + 136), 8)
    yield [name, tar.subarray(at + 512, at + 512 + size)]
    at += 512 + Math.ceil(size / 512) * 512
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(vulkanEnvironment({ verbose: true }))
