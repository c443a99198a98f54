/**
 * Compilers, bundlers and runtimes of other people that the long tests put the package through. They are named in
 * `hosts/package.json` and its lockfile, and installed there when a long test first asks: all together they are larger
 * than what everybody gets with `npm ci`.
 */
import { execFile } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { LockedError, takeLock } from '../../src/io/lock.node.ts'

const folder = fileURLToPath(new URL('hosts', import.meta.url))
const lockfile = join(folder, 'package-lock.json')
/** A copy of the lockfile that was installed. */
const copy = join(folder, 'node_modules/.installed')

const installed = (): boolean => existsSync(copy) && readFileSync(copy, 'utf8') === readFileSync(lockfile, 'utf8')

// Their npm packages copy the program in an install script; the package of the platform holds it.
const exe = process.platform === 'win32' ? '.exe' : ''
/** Where the runtimes lie, for {@link host}. */
export const runtimes = {
  Deno: `@deno/${process.platform}-${process.arch}${process.platform === 'linux' ? '-glibc' : ''}/deno${exe}`,
  Bun:
    `@oven/bun-${process.platform === 'win32' ? 'windows' : process.platform}-` +
    `${process.arch === 'arm64' ? 'aarch64' : process.arch}/bin/bun${exe}`,
}

/** The path of a file of one of them: `await host('typescript/bin/tsc')`. */
export async function host(path: string): Promise<string> {
  while (!installed()) {
    try {
      const lock = await takeLock(join(folder, 'install.tmp'), 'a test')
      try {
        if (!installed()) await install()
      } finally {
        await lock.release()
      }
    } catch (error) {
      if (!(error instanceof LockedError)) throw error
      await wait(500)
    }
  }
  return join(folder, 'node_modules', path)
}

async function install(): Promise<void> {
  const args = ['ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--no-update-notifier']
  await promisify(execFile)('npm', args, { cwd: folder, shell: process.platform === 'win32' })
  copyFileSync(lockfile, copy)
}
