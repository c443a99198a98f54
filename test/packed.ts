/**
 * The package as a user gets it: packed by `npm pack` and installed by `npm install` in an empty folder. Tests that
 * import the sources, or the package by its name from within the repository, see neither what `files` leaves out nor
 * what `exports` hides, and find every development dependency.
 *
 * The folder lies where no parent holds a `node_modules`, is made once per content of the package, and is shared by all
 * test files that ask, at once or one after another.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { waitForLock } from './waiting.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const all = join(tmpdir(), `tweedie-packed-${process.getuid?.() ?? 'all'}`)
const run = promisify(execFile)

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string
  files: string[]
  exports: Record<string, unknown>
}
export const { version } = manifest

/** The entries that are modules, as they are imported: `tweedie`, `tweedie/nn`. Those without types are files. */
export const entries = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === 'object')
  .map(([name]) => name.replace('.', 'tweedie'))

/** A program that imports them all. */
export const importOfAll = entries
  .map((name, i) => `import * as entry${i} from '${name}'\nexport const names${i}: string[] = Object.keys(entry${i})`)
  .join('\n')

/** One that nobody asked for this long is removed: no test file takes as long. Each is 50 MB. */
const unused = 1800_000

export interface PackedOptions {
  /** With the optional peer `webgpu` beside the package, as after `npm install webgpu`. Default false. */
  readonly webgpu?: boolean
}

/**
 * A folder with `node_modules/tweedie`, installed from the packed tarball, and that tarball as `tweedie.tgz`. It is
 * shared: write nothing in it but what {@link emptyProject} makes.
 */
export async function packed({ webgpu = false }: PackedOptions = {}): Promise<string> {
  await run(process.execPath, ['scripts/build.js'], { cwd: root })
  const plain = await once(`plain-${contentKey()}`, install)
  if (!webgpu) return plain
  // The link leads into this clone, and another clone of the same content may be gone by tomorrow.
  return once(
    `webgpu-${contentKey()}-${createHash('sha256').update(root).digest('hex').slice(0, 8)}`,
    async (folder) => {
      cpSync(join(plain, 'package.json'), join(folder, 'package.json'))
      cpSync(join(plain, 'node_modules'), join(folder, 'node_modules'), { recursive: true, verbatimSymlinks: true })
      symlinkSync(join(root, 'node_modules/webgpu'), join(folder, 'node_modules/webgpu'), 'junction')
    },
  )
}

/**
 * A new empty folder from which `import 'tweedie'` and `npx tweedie` find the installed package, and nothing else is
 * found but what the package depends on and the development dependencies `types`, which a user would install there.
 */
export async function emptyProject({
  types = [],
  ...options
}: PackedOptions & { readonly types?: readonly string[] } = {}): Promise<string> {
  const above = await packed(options)
  removeOld(above, 'project-')
  const folder = mkdtempSync(join(above, 'project-'))
  for (const name of types)
    cpSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true })
  return folder
}

/** What npm said; a test looks whether it warned. */
export const npmOutput = (folder: string): string => readFileSync(join(folder, 'npm.log'), 'utf8')

async function install(folder: string): Promise<void> {
  const npm = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
    run('npm', args, { cwd: folder, shell: process.platform === 'win32', env: environment })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  await npm('pack', root, '--silent')
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) as string
  renameSync(join(folder, tarball), join(folder, 'tweedie.tgz'))
  const { stdout, stderr } = await npm(
    'install',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    './tweedie.tgz',
  )
  writeFileSync(join(folder, 'npm.log'), stdout + stderr)
}

// What `npm test` tells its children: npm would take its settings for the user's.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_(?!config_(cache|registry)$)/i.test(name)),
)

/** The folder `name`, made by `make` if it is not there. */
async function once(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  for (let above = dirname(all); ; above = dirname(above)) {
    if (existsSync(join(above, 'node_modules')))
      throw new Error(
        `${above} holds a node_modules, which hides what the package lacks: set TMPDIR to another folder.`,
      )
    if (above === dirname(above)) break
  }
  const folder = join(all, name)
  mkdirSync(all, { recursive: true })
  const lock = await waitForLock(`${folder}.lock`)
  try {
    if (!existsSync(folder)) {
      removeOld(all)
      const fresh = mkdtempSync(`${folder}-`)
      try {
        await make(fresh)
        renameSync(fresh, folder)
      } finally {
        rmSync(fresh, { recursive: true, force: true })
      }
    }
    utimesSync(folder, new Date(), new Date())
    return folder
  } finally {
    await lock.release()
  }
}

function removeOld(folder: string, prefix = ''): void {
  for (const name of readdirSync(folder).filter((name) => name.startsWith(prefix))) {
    const path = join(folder, name)
    const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() }
    if (Date.now() - mtimeMs > unused) rmSync(path, { recursive: true, force: true })
  }
}

/** Of what goes into the tarball. */
function contentKey(): string {
  const hash = createHash('sha256')
  for (const entry of [
    'package.json',
    'README.md',
    'LICENSE',
    ...manifest.files.filter((name) => !name.startsWith('!')),
  ]) {
    const path = join(root, entry)
    const inside = statSync(path).isDirectory() ? readdirSync(path, { recursive: true }).map(String).sort() : ['']
    for (const name of inside) {
      const file = join(path, name)
      if (statSync(file).isFile()) hash.update(`${entry}/${name}\0`).update(readFileSync(file))
    }
  }
  return hash.digest('hex').slice(0, 16)
}
