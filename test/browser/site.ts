/** The site as visitors have it: built, once for all tests that ask. */
import { execFile, execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { waitForLock } from '../waiting.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const dist = join(root, 'site/dist')

const timeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0

/** What the site is made of: all that is in git but tests and benches, and what is not in git yet. */
function sources(): string[] {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', ':!test', ':!bench'], { cwd: root })
  return listed.toString().trim().split('\n')
}

/** The folder of the built site. It is built if it is older than any source. */
export async function builtSite(): Promise<string> {
  const lock = await waitForLock(join(root, 'site/build.tmp'))
  try {
    const built = timeOf(join(dist, 'index.html'))
    if (sources().some((path) => timeOf(join(root, path)) > built))
      await promisify(execFile)(process.execPath, ['scripts/site.js'], { cwd: root })
    return dist
  } finally {
    await lock.release()
  }
}
