/**
 * How a lock is taken. It appears whole and for one process only, as a hard link to a file
 * written before. One whose owner is dead is taken over by renaming one's own over it, and who may do that is decided
 * by another lock, named after the dead one's token: nobody else can change the lock between the look and the rename.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { constants, copyFile, link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { TweedieError } from '../errors.ts'
import { isRunning, ownerName, thisProcess, type Owner } from './owner.node.ts'

/** What a lock's file holds, in JSON. */
export interface LockHolder extends Owner {
  /** What is being done, for people: `tweedie train diffusion`. */
  readonly command: string
  /** When it was taken, ISO 8601. */
  readonly since: string
  /** Of this lock alone. */
  readonly token: string
}

/** A lock that this process has; see {@link takeLock}. */
export interface Lock {
  /** Gives it back; calling it again does nothing. */
  release(): Promise<void>
}

/** Somebody else has the lock. */
export class LockedError extends TweedieError {
  /** Who has it. */
  readonly holder: LockHolder

  constructor(path: string, holder: LockHolder) {
    const { command, pid, host, since } = holder
    const seen =
      isRunning(holder) === null
        ? ` That is another machine: if the process is not running there any more, remove ${path}.`
        : ''
    super('option', `in use by ${command} (process ${pid} on ${host}, since ${since}).${seen}`)
    this.holder = holder
  }
}

/** Locks of this process, with their tokens. */
const held = new Map<string, string>()

/** For ends that no `finally` sees: process.exit, or an error that nobody caught. */
function releaseAll(): void {
  for (const [path, token] of held) {
    try {
      if (parse(readFileSync(path, 'utf8'))?.token === token) rmSync(path)
    } catch {
      // Somebody removed it.
    }
  }
}

/**
 * Takes the lock `path`, a small file that says who is writing, whose folder must be there, for `command`. That of a
 * process which no longer runs is taken over.
 * @throws LockedError while a process that runs, or may run on another machine, holds it; the system's error where the
 *   folder cannot be written
 */
export async function takeLock(path: string, command: string): Promise<Lock> {
  const token = randomBytes(4).toString('hex')
  const mine: LockHolder = { ...thisProcess(), command, since: new Date().toISOString(), token }
  const temporary = `${path}.${ownerName(thisProcess())}-${token}.tmp`
  await writeFile(temporary, JSON.stringify(mine), { flag: 'wx' })
  try {
    // Others who take over the same dead lock at the same time are waited for, but not for ever.
    for (let attempt = 0; ; attempt++) {
      if (await created(path, temporary)) break
      const other = await holderOf(path)
      if (other === null) continue
      if (isRunning(other) !== false) throw new LockedError(path, other)
      const right = await takeLock(`${path}.${other.token}`, command).catch((error: unknown) => {
        if (!(error instanceof LockedError) || attempt >= 100) throw error
        return null
      })
      if (right === null) {
        await wait(20)
        continue
      }
      try {
        if ((await holderOf(path))?.token !== other.token) continue
        await rename(temporary, path)
        break
      } finally {
        await right.release()
      }
    }
  } finally {
    await rm(temporary, { force: true })
  }
  if (!process.listeners('exit').includes(releaseAll)) process.on('exit', releaseAll)
  held.set(path, token)
  return {
    release: async () => {
      held.delete(path)
      if ((await holderOf(path))?.token === token) await rm(path, { force: true })
    },
  }
}

/** Puts the file in the lock's place, unless there is one. */
async function created(path: string, temporary: string): Promise<boolean> {
  const unless = (making: Promise<void>): Promise<boolean> =>
    making.then(
      () => true,
      (error: NodeJS.ErrnoException) => (error.code === 'EEXIST' ? false : Promise.reject(error)),
    )
  // Some disks have no hard links (exFAT).
  return unless(link(temporary, path)).catch(() => unless(copyFile(temporary, path, constants.COPYFILE_EXCL)))
}

/** Who holds the lock; null where there is none. */
async function holderOf(path: string): Promise<LockHolder | null> {
  // A copy needs a moment until its text is there.
  for (let attempt = 0; attempt < 20; attempt++) {
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? null : Promise.reject(error),
    )
    const holder = text === null ? null : parse(text)
    if (text === null || holder !== null) return holder
    await wait(50)
  }
  throw new TweedieError('option', `${path} is no lock that can be read: if nothing is writing there, remove it.`)
}

function parse(text: string): LockHolder | null {
  try {
    const holder = JSON.parse(text) as LockHolder
    return typeof holder.token === 'string' && /^[0-9a-f]{8}$/.test(holder.token) && Number.isInteger(holder.pid)
      ? holder
      : null
  } catch {
    return null
  }
}
