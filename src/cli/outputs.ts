/**
 * What a command writes: looked at before any work is done, and its own until it ends. Every command that writes claims
 * its outputs here first. The rules:
 *
 * - Never over an input, by whatever name the file goes (symbolic and hard links, other spellings), and never two
 *   outputs into one file. Folders of pictures do not lie inside the data: their pictures would become data.
 * - A file that is there is replaced only if the same command made it and can make it again from what is given: each
 *   command says how it knows. Anything else is refused.
 * - In a folder only files with the command's own names are touched, and only those of its own run, which a record in
 *   the folder (run.json, state.safetensors) accounts for. A run is never replaced by one with other options.
 * - Two processes never write to one output: a lock in the folder, or beside the file, says who does. The lock of a
 *   process that was killed is taken over, and what it left half-written is removed.
 * - What is no regular file (/dev/stdout, a pipe) is written into.
 */
import { constants, type BigIntStats } from 'node:fs'
import { access, mkdir, readdir, readFile, realpath, rm, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { exists, isWrittenInto, removeAbandoned, targetOf } from '../io/file.node.ts'
import { openCheckpoint, openFile } from '../io/index.node.ts'
import { LockedError, takeLock, type Lock } from '../io/lock.node.ts'
import { fail, type Arguments } from './arguments.ts'
import { readsPath, wordsOf, type OptionTable } from './option.ts'

/** What one option, or a word that is none, names. */
interface Named {
  /** As people are told it: `--out`. */
  readonly option: string
  readonly path: string
}

export interface FileOutput extends Named {
  /**
   * What is wrong with replacing the file that is there, as in "holds no labels"; null if nothing is. Not
   * asked of an empty file.
   */
  readonly keeps: (path: string) => Promise<string | null>
}

export interface FolderOutput extends Named {
  /** Every name that the command writes in the folder. */
  readonly names: RegExp
  /** The file, among them or below, without which none of them can be of an earlier run. */
  readonly record: string
  /** Names that may be there before the record is. */
  readonly early?: RegExp
}

export interface Outputs {
  /** The command's name. */
  readonly command: string
  readonly inputs: readonly Named[]
  readonly files?: readonly FileOutput[]
  readonly folders?: readonly FolderOutput[]
}

/** An output that is claimed, with what its path leads to. */
type Placed<T extends Named> = T & {
  readonly target: string
  readonly found: BigIntStats | null /** Written into. */
  readonly stream: boolean
}

/**
 * Checks the outputs and takes their locks, which hold until disposal: `await using _ = await claimOutputs(…)`.
 * @throws TweedieError 'option' for what the rules above refuse
 */
export async function claimOutputs({ command, inputs, files = [], folders = [] }: Outputs): Promise<AsyncDisposable> {
  const read = await Promise.all(inputs.map(placed))
  const placedFiles = (await Promise.all(files.map(placed))).filter(({ stream }) => !stream)
  const placedFolders = await Promise.all(folders.map(placed))
  for (const output of [...placedFiles, ...placedFolders]) {
    const input = read.find((candidate) => isSame(candidate, output) && !candidate.found?.isDirectory())
    if (input) fail(`${output.option} ${output.path} is the same file that ${input.option} reads: choose another name.`)
  }
  for (const [i, output] of placedFiles.entries()) {
    if (output.found?.isDirectory()) fail(`${output.option} ${output.path} is a folder: name a file.`)
    const other =
      placedFiles.slice(0, i).find((candidate) => isSame(candidate, output)) ??
      placedFolders.find(
        ({ target, names }) => dirname(output.target) === target && names.test(basename(output.target)),
      )
    if (other) fail(`${output.option} ${output.path} is also written by ${other.option}: choose another name.`)
  }
  for (const folder of placedFolders) await checkFolder(folder, read)

  const held: { release(): Promise<unknown> }[] = []
  const release = async (): Promise<void> => {
    for (const lock of held.splice(0).reverse()) await lock.release()
  }
  try {
    for (const folder of placedFolders) {
      held.push(...(await claimFolder(folder, command)))
    }
    for (const file of placedFiles) {
      held.push(await claimFile(file, command))
      // Looked at under the lock: another process may just have written it.
      const now = await stat(file.target).catch(() => null)
      if (now)
        await access(file.target, constants.W_OK).catch(() =>
          fail(`${file.option} ${file.path} may not be written: choose another name.`),
        )
      const wrong = now === null || now.size === 0 ? null : await file.keeps(file.target)
      if (wrong !== null) fail(`${file.option} ${file.path} ${wrong}: choose another name, or remove it.`)
    }
  } catch (error) {
    await release()
    throw error
  }
  return { [Symbol.asyncDispose]: release }
}

/** What a command was told to read, by its options. */
export const inputsOf = (args: Arguments<OptionTable>): Named[] =>
  Object.keys(args.options).flatMap((name) => {
    const word = readsPath(args.options[name]) ? args.text(name) : undefined
    return word === undefined ? [] : wordsOf(word).map((path) => ({ option: `--${name}`, path }))
  })

/** Says of a JSON file whether it is one of ours of this kind, for {@link FileOutput}. */
export const keepsOthers =
  (kind: string) =>
  async (path: string): Promise<string | null> =>
    (await jsonOf(path))?.kind === kind ? null : `holds no ${kind.replace('-', ' ')}, and nothing else is replaced`

/** The same of a safetensors file, by the names of its tensors. */
export const keepsOtherTensors =
  (names: RegExp) =>
  async (path: string): Promise<string | null> => {
    const found = await openFile(path)
      .then(openCheckpoint)
      .catch(() => null)
    await found?.close()
    return found && [...found.tensors.keys()].every((name) => names.test(name))
      ? null
      : 'holds something else than this command writes'
  }

/** The first bytes of a file as text. */
export async function beginningOf(path: string, bytes: number): Promise<string> {
  const file = await openFile(path)
  try {
    return new TextDecoder().decode(await file.read(0, Math.min(bytes, file.size)))
  } finally {
    await file.close()
  }
}

/** A JSON file of ours; null for any other file. */
export async function jsonOf(path: string): Promise<Record<string, unknown> | null> {
  try {
    // What is no JSON may be large.
    if ((await beginningOf(path, 1)) !== '{') return null
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return typeof value === 'object' && value !== null && (value as { program?: unknown }).program === 'tweedie'
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

async function placed<T extends Named>(named: T): Promise<Placed<T>> {
  const path = await targetOf(resolve(named.path)).catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOTDIR'
      ? fail(`${named.option} ${named.path} lies in a file, which holds no others: choose another path.`)
      : fail(`${named.option} ${named.path}: ${error.message}.`),
  )
  const found = await stat(path, { bigint: true }).catch(() => null)
  const stream = await isWrittenInto(path)
  return { ...named, target: stream ? path : await canonical(path), found, stream }
}

/** The path without links, as far as it is there. */
const canonical = async (path: string): Promise<string> =>
  realpath(path).catch(async () =>
    dirname(path) === path ? path : join(await canonical(dirname(path)), basename(path)),
  )

/** Hard links and, where the disk knows no case, other spellings have one number. */
const isSame = (a: Placed<Named>, b: Placed<Named>): boolean =>
  a.target === b.target ||
  (a.found !== null &&
    b.found !== null &&
    a.found.ino !== 0n &&
    a.found.dev === b.found.dev &&
    a.found.ino === b.found.ino)

async function checkFolder(
  { option, path, target, found, names }: Placed<FolderOutput>,
  inputs: readonly Placed<Named>[],
): Promise<void> {
  if (found && !found.isDirectory()) fail(`${option} ${path} is a file: name a folder.`)
  const above: Placed<Named>[] = []
  for (let folder = target; ; folder = dirname(folder)) {
    above.push({
      option,
      path,
      target: folder,
      found: await stat(folder, { bigint: true }).catch(() => null),
      stream: false,
    })
    if (dirname(folder) === folder) break
  }
  for (const input of inputs) {
    if (input.found?.isDirectory() && above.some((folder) => isSame(folder, input))) {
      fail(
        `${option} ${path} lies in the data of ${input.option} ${input.path}, and its pictures would become ` +
          'data: choose a folder outside.',
      )
    }
    if (!input.found?.isDirectory() && dirname(input.target) === target && names.test(basename(input.target))) {
      fail(
        `${option} ${path} holds ${basename(input.path)}, which ${input.option} reads and this command would ` +
          'write: choose another folder.',
      )
    }
  }
}

const lockName = '.tweedie.lock'

/** Whether a process has claimed the file or folder, and has not ended as it should. */
export async function isClaimed(path: string): Promise<boolean> {
  const locks = [join(path, lockName), join(dirname(path), `.${basename(path)}${lockName}`)]
  return (await Promise.all(locks.map(exists))).includes(true)
}

/** Makes the folder. One that is empty in the end, for instance after a refusal, is removed again. */
async function claimFolder(folder: Placed<FolderOutput>, command: string): Promise<{ release(): Promise<unknown> }[]> {
  const { option, path, target, names } = folder
  let made: string | undefined
  const make = async (): Promise<void> => {
    made =
      (await mkdir(target, { recursive: true }).catch((error: Error) =>
        fail(`${option}: cannot make the folder ${path}: ${error.message}`),
      )) ?? made
  }
  const removeMade = async (): Promise<void> => {
    for (let empty = target; made !== undefined && empty.length >= made.length; empty = dirname(empty)) {
      if (
        !(await rmdir(empty).then(
          () => true,
          () => false,
        ))
      )
        return
    }
  }
  await make()
  // Whoever made it may just remove it, empty.
  const lock = await locked(join(target, lockName), option, path, command, make).catch(async (error: unknown) => {
    await removeMade()
    throw error
  })
  try {
    const ours = await checkStrays(folder)
    await removeAbandoned(target, (name) => names.test(name) || name.startsWith(lockName), { unowned: ours })
    await removeOldRights(target, lockName)
  } catch (error) {
    await lock.release()
    await removeMade()
    throw error
  }
  return [{ release: removeMade }, lock]
}

async function claimFile({ option, path, target }: Placed<FileOutput>, command: string): Promise<Lock> {
  const [folder, name] = [dirname(target), basename(target)]
  const own = `.${name}${lockName}`
  const lock = await locked(join(folder, own), option, path, command)
  await removeAbandoned(folder, (found) => found === name || found === `${name}.unfinished` || found.startsWith(own))
  await removeOldRights(folder, own)
  return lock
}

async function locked(
  lock: string,
  option: string,
  path: string,
  command: string,
  make?: () => Promise<void>,
): Promise<Lock> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await takeLock(lock, `tweedie ${command}`)
    } catch (error) {
      if (error instanceof LockedError)
        return fail(`${option} ${path} is ${error.message} Wait for it, or choose another ${option}.`)
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'ENOENT' && make && attempt < 5) await make()
      else if (code === 'ENOENT') return fail(`cannot write ${option} ${path}: there is no folder ${dirname(lock)}.`)
      else {
        const forbidden = ['EACCES', 'EPERM', 'EROFS'].includes(code ?? '')
        return fail(
          `cannot write ${option} ${path}: ` +
            `${forbidden ? `nothing may be written in the folder ${dirname(lock)}.` : message}`,
        )
      }
    }
  }
}

/** Of processes that were killed while they took over a lock: worth nothing since we have it. */
async function removeOldRights(folder: string, lock: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(`${lock}.`) && /^[0-9a-f]{8}$/.test(name.slice(lock.length + 1)))
      await rm(join(folder, name), { force: true })
  }
}

/** Whether a run of ours is in the folder. Files with our names that none accounts for are somebody's, and refused. */
async function checkStrays({ option, path, target, names, record, early }: Placed<FolderOutput>): Promise<boolean> {
  if (await exists(join(target, record))) return true
  const stray = (await readdir(target)).find((name) => names.test(name) && !early?.test(name))
  if (stray !== undefined)
    fail(
      `${option} ${path} holds ${stray}, but no ${record} that it belongs to: choose another folder, or move it away.`,
    )
  return false
}
