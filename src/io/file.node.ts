import { randomBytes } from 'node:crypto'
import { constants, write, type Stats } from 'node:fs'
import { access, lstat, open, readdir, readlink, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { dirname, extname, join, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { messageOf, TweedieError } from '../errors.ts'
import { isRunning, ownerIn, ownerName, thisProcess } from './owner.node.ts'
import { checkRange, roomFor, type ByteSource } from './source.ts'

/** Node reads at most 2^31 - 1 bytes at once; shorter pieces also bound how long an abort has to wait. */
const piece = 2 ** 24

/**
 * Closes a file that was forgotten open, once nobody can read it any more. Node does so by itself, but warns,
 * and says it will throw.
 */
const forgotten = new FinalizationRegistry<FileHandle>((handle) => void handle.close().catch(() => {}))

/**
 * The path in a `file:` URL, as an object or as the text that `import.meta.resolve` gives; any other text is a path.
 */
export function pathOf(file: string | URL): string {
  const text = String(file)
  if (/^file:\/\//i.test(text)) return fileURLToPath(text)
  if (typeof file === 'string') return file
  throw new TweedieError(
    'option',
    `${text}: expected a path or a file: URL. What lies on a server is opened by urlSource.`,
  )
}

/**
 * Opens a file, named by its path or a `file:` URL, for reading by range. Close it, or the `Checkpoint` made from it;
 * one that is forgotten is closed some time after.
 * Rejects with code 'option' when there is no such file or it may not be read.
 *
 * @example
 * const checkpoint = await openCheckpoint(await openFile('faces.safetensors'))
 * const shipped = await openCheckpoint(await openFile(import.meta.resolve('tweedie/weights/bccd32-adm.safetensors')))
 */
export async function openFile(file: string | URL): Promise<ByteSource & { close(): Promise<void> }> {
  const path = pathOf(file)
  // A pipe that nobody writes to would be waited for.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    async (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'ENOENT') return refuse('read', path, cause)
      throw new TweedieError(
        'option',
        `cannot read ${path}: there is no such file. ${await whatHas(dirname(path), extname(path))}`,
        { cause },
      )
    },
  )
  const stat = await handle.stat()
  if (!stat.isFile()) {
    await handle.close()
    throw new TweedieError(
      'option',
      `cannot read ${path}: expected a file, found ` +
        `${stat.isDirectory() ? `a folder. ${await whatHas(path)}` : 'a device.'}`,
    )
  }
  const { size } = stat
  let closed: Promise<void> | undefined
  const source = {
    name: path,
    size,
    async read(offset: number, length: number, signal?: AbortSignal) {
      signal?.throwIfAborted()
      if (closed) throw new TweedieError('disposed', `${path}: read after close`)
      checkRange({ name: path, size }, offset, length)
      const bytes = roomFor(path, length)
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle
          .read(bytes, done, Math.min(piece, length - done), offset + done)
          .catch((cause: unknown) => refuse('read', path, cause))
        signal?.throwIfAborted()
        if (bytesRead === 0) {
          throw new TweedieError(
            'format',
            `${path}: expected ${length} bytes at offset ${offset}, found ${done}: ` +
              'the file became shorter while it was read',
          )
        }
        done += bytesRead
      }
      return bytes
    },
    close() {
      forgotten.unregister(source)
      return (closed ??= handle.close())
    },
  }
  forgotten.register(source, handle, source)
  return source
}

/** What a folder has, of files with this ending if there are any: one of them may be meant. */
async function whatHas(folder: string, ending = ''): Promise<string> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => null)
  if (!entries) return `Nor is there a folder ${folder}.`
  const names = entries
    .filter((entry) => !entry.name.startsWith('.'))
    .map((entry) => `${entry.name}${entry.isDirectory() ? '/' : ''}`)
    .sort()
  const alike = names.filter((name) => ending !== '' && name.endsWith(ending))
  const shown = alike.length > 0 ? alike : names
  const called = folder === '.' ? 'This folder' : folder
  return shown.length === 0
    ? `${called} is empty.`
    : `${called} has ${shown.slice(0, 8).join(', ')}${shown.length > 8 ? ` and ${shown.length - 8} more` : ''}.`
}

/**
 * Writes chunks to `path` whole or not at all: into a new `.tmp` file beside it, synced to the disk and renamed over
 * `path`. When writing fails, `chunks` throws or `signal` aborts, the `.tmp` file is removed, what `path` was before is
 * untouched, and the reason is rethrown. A file that is replaced leaves its mode and, where the system lets us, its
 * owner to the new one, and where `path` is a symbolic link, the file it points to is written and the link stays. What
 * is no regular file (`/dev/stdout`, a pipe, a device) is written into as the chunks come.
 *
 * @throws TweedieError 'option' when the folder is missing, the folder or the file is not writable, the disk is full,
 *   or `path` is a folder
 * @example
 * await writeFileAtomic('out.safetensors', encodeSafetensors([['sample', { shape: [8, 3, 32, 32], data }]]))
 */
export async function writeFileAtomic(
  file: string | URL,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  signal?.throwIfAborted()
  const path = pathOf(file)
  const wrong = (cause: unknown): never => refuse('write', path, cause)
  const target = await targetOf(path).catch(wrong)
  const before = await stat(target).catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' ? null : wrong(error),
  )
  if (before?.isDirectory()) wrong(new Error('it is a folder'))
  if (isStream(target, before)) return writeInto(target, before!.isFIFO(), chunks, wrong, signal)
  // Renaming needs no right to write the file itself, but whoever made it read-only meant it.
  if (before) await access(target, constants.W_OK).catch(wrong)
  const temporary = temporaryName(target)
  const handle = await open(temporary, 'wx', before ? before.mode & 0o777 : 0o666).catch(wrong)
  try {
    try {
      if (before) await keep(handle, before)
      for await (const chunk of chunks) {
        signal?.throwIfAborted()
        await handle.writeFile(chunk).catch(wrong)
      }
      await handle.sync().catch(wrong)
    } finally {
      await handle.close()
    }
    signal?.throwIfAborted()
    await rename(temporary, target).catch(wrong)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** A name beside `target` for what will be renamed over it; {@link removeAbandoned} knows it again. */
const temporaryName = (target: string): string =>
  `${target}.${ownerName(thisProcess())}-${randomBytes(4).toString('hex')}.tmp`

/**
 * Removes what killed processes were writing in `folder` to files whose names `isOurs` knows. What a process that runs,
 * or one of another machine, is writing stays, and so does every other `.tmp` file. `unowned`: also names as earlier
 * versions made them, which say no owner.
 */
export async function removeAbandoned(
  folder: string,
  isOurs: (name: string) => boolean,
  { unowned = false } = {},
): Promise<void> {
  for (const entry of await readdir(folder)) {
    const [, name, owner] = /^(.+?)\.(?:([\w-]+)-)?[0-9a-f]{8}\.tmp$/.exec(entry) ?? []
    if (name === undefined || !isOurs(name)) continue
    const known = owner === undefined ? null : ownerIn(owner)
    if (known ? isRunning(known) === false : owner === undefined && unowned)
      await rm(join(folder, entry), { force: true })
  }
}

/** Mode and owner of the file that is replaced. */
async function keep(handle: FileHandle, { mode, uid, gid }: Stats): Promise<void> {
  const own = await handle.stat()
  // Only root may give a file away; a group one belongs to may be kept.
  if (own.uid !== uid || own.gid !== gid)
    await handle
      .chown(uid, gid)
      .catch(() => handle.chown(own.uid, gid))
      .catch(() => {})
  // Disks of other systems have no modes.
  if (own.mode !== mode) await handle.chmod(mode & 0o7777).catch(() => {})
}

/** Writes a text to `path` whole or not at all, as {@link writeFileAtomic} does. */
export const writeText = (path: string, text: string, signal?: AbortSignal): Promise<void> =>
  writeFileAtomic(path, [new TextEncoder().encode(text)], signal ? { signal } : {})

/** Whether something is at `path`, of whatever kind; a link that leads nowhere is nothing. */
export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

/**
 * Where a path leads: symbolic links followed, also to a file that is not there yet, but not into {@link descriptorOf}.
 */
export async function targetOf(path: string): Promise<string> {
  for (let links = 0; links < 40; links++) {
    const found =
      descriptorOf(path) !== null
        ? null
        : await lstat(path).catch((error: NodeJS.ErrnoException) =>
            error.code === 'ENOENT' ? null : Promise.reject(error),
          )
    if (!found?.isSymbolicLink()) return path
    path = resolve(dirname(path), await readlink(path))
  }
  throw new Error('too many symbolic links')
}

/** Whether {@link writeFileAtomic} writes into what is at `path`, and replaces nothing. */
export async function isWrittenInto(path: string): Promise<boolean> {
  const target = await targetOf(path)
  return isStream(target, await stat(target).catch(() => null))
}

/**
 * What is written into and never replaced. This process's descriptors are such even where they lead to a regular file.
 */
const isStream = (target: string, found: Stats | null): boolean =>
  found !== null && !found.isDirectory() && (!found.isFile() || descriptorOf(target) !== null)

/** The number of one of this process's open files, as in `/dev/stdout` or `/dev/fd/3`; null for any other path. */
function descriptorOf(path: string): number | null {
  const named = ['/dev/stdin', '/dev/stdout', '/dev/stderr'].indexOf(path)
  if (named >= 0) return named
  const [, number] = /^(?:\/dev\/fd|\/proc\/self\/fd)\/(\d+)$/.exec(path) ?? []
  return number === undefined ? null : Number(number)
}

async function writeInto(
  path: string,
  isPipe: boolean,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  wrong: (cause: unknown) => never,
  signal?: AbortSignal,
): Promise<void> {
  const number = descriptorOf(path)
  if (number !== null) {
    for await (const chunk of chunks) {
      signal?.throwIfAborted()
      await writeToDescriptor(number, chunk, signal).catch((error: unknown) =>
        signal?.aborted ? (Promise.reject(error) as never) : wrong(error),
      )
    }
    return
  }
  const handle = await (isPipe ? openForReader(path, signal) : open(path, constants.O_WRONLY)).catch(
    (error: unknown) => (signal?.aborted ? (Promise.reject(error) as never) : wrong(error)),
  )
  try {
    for await (const chunk of chunks) {
      signal?.throwIfAborted()
      await handle.writeFile(chunk).catch(wrong)
    }
  } finally {
    await handle.close()
  }
}

/** Milliseconds until a pipe is tried again. */
const pause = 20

/** At the descriptor's own position, after what was printed there before. */
async function writeToDescriptor(number: number, chunk: Uint8Array, signal?: AbortSignal): Promise<void> {
  for (let done = 0; done < chunk.byteLength; ) {
    const written = await new Promise<number>((resolve, reject) =>
      write(number, chunk, done, Math.min(piece, chunk.byteLength - done), null, (error, n) => {
        // A full pipe that Node opened itself does not wait.
        if (error?.code === 'EAGAIN') resolve(0)
        else if (error) reject(error)
        else resolve(n)
      }),
    )
    done += written
    if (written === 0) await wait(pause, undefined, { signal })
  }
}

/** A pipe without a reader is waited for, in a way that can be aborted. */
async function openForReader(path: string, signal?: AbortSignal): Promise<FileHandle> {
  for (;;) {
    const first = await open(path, constants.O_WRONLY | (constants.O_NONBLOCK ?? 0)).catch(
      (error: NodeJS.ErrnoException) => (error.code === 'ENXIO' ? null : Promise.reject(error)),
    )
    if (first === null) {
      await wait(pause, undefined, { signal })
      continue
    }
    // There is a reader now, so this one, whose writes wait, opens at once.
    return open(path, constants.O_WRONLY).finally(() => first.close())
  }
}

function refuse(what: string, path: string, cause: unknown): never {
  const message = messageOf(cause)
  throw new TweedieError('option', `cannot ${what} ${path}: ${message}`, { cause })
}
