/** Where tweedie keeps what it can make or fetch again: measured kernels, published weights. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

/** A file or folder in the user's cache folder: $XDG_CACHE_HOME/tweedie, or ~/.cache/tweedie. */
export const cacheFile = (name: string): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tweedie', name)

/** What {@link writeCache} left under `name`, null if nothing. A cache that cannot be read is an empty one. */
export async function readCache(name: string): Promise<string | null> {
  try {
    return await readFile(cacheFile(name), 'utf8')
  } catch {
    return null
  }
}

/** Keeps `text` for later runs in the user's cache folder, where it can be written. */
export async function writeCache(name: string, text: string): Promise<void> {
  let beside = ''
  try {
    // Deno may refuse even to say where the folder is.
    const file = cacheFile(name)
    beside = `${file}.${process.pid}.tmp`
    await mkdir(dirname(file), { recursive: true })
    await writeFile(beside, text)
    await rename(beside, file)
  } catch {
    await rm(beside, { force: true }).catch(() => {})
  }
}
