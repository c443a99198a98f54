/**
 * How a download breaks off and goes on. What has arrived lies in a folder of its own beside its
 * future place, `NAME.OWNER.part/`, with the bytes and where they came from. A folder changes hands by being renamed,
 * which succeeds for one process only: so two processes never write to the same bytes, and whoever comes after a
 * process that stopped or was killed goes on where it ended. The server says whether the file is still the same
 * (`If-Range`), or its length does; one that knows no ranges sends it from the start.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { named, TweedieError } from '../errors.ts'
import { checkSize, lengthOf, mostBytes, rangeOf, remedyOf, validatorOf } from './http.ts'
import { fetchByProxy } from './proxy.node.ts'
import { aCount, aText, anyOf, fieldsOf, oneOf, parseJson } from './json.ts'
import { isRunning, ownerIn, ownerName, thisProcess } from './owner.node.ts'

/** Options of {@link download}. */
export interface DownloadOptions {
  /** Stops it. What is there stays, and the next download of the same address goes on with it. */
  readonly signal?: AbortSignal
  /** Bytes there, and all of them, null where the server does not say. Called at once and with every piece. */
  readonly onProgress?: (done: number, total: number | null) => void
  /** The file's sha256 in hex, or its first digits. */
  readonly sha256?: string
}

/** A file that {@link download} has there, whole and checked. */
export interface Downloaded {
  /** Where it lies while `use` runs. */
  readonly path: string
  /** In bytes. */
  readonly size: number
  /** All 64 digits, computed from the file on the disk. */
  readonly sha256: string
  /** Bytes that were there from an earlier attempt. */
  readonly resumedFrom: number
}

/**
 * Downloads `url` to a place in `folder` that no other process knows, hands it to `use`, and removes it: `use` converts
 * it, or renames it to where it shall stay. `name` tells unfinished downloads of one folder apart. The folder is
 * made if it is missing.
 *
 * A transfer that breaks is taken up again for as long as each attempt brings something, and one of a process that was
 * stopped or killed goes on where it ended.
 *
 * The proxy of HTTPS_PROXY and HTTP_PROXY is asked, but for the hosts of NO_PROXY. A file has at most 8 GiB.
 *
 * @throws TweedieError 'option' where the server refuses; 'format' where the transfer breaks (what is there is kept) or
 *   the file has another sha256 (nothing is kept); rejects with `signal.reason` when aborted (what is there is kept)
 * @example
 * await download(url, folder, 'vgg.pth', ({ path }) => rename(path, join(folder, 'vgg.pth')), { sha256: '397923af' })
 */
export async function download<T>(
  url: string,
  folder: string,
  name: string,
  use: (file: Downloaded) => Promise<T>,
  options: DownloadOptions = {},
): Promise<T> {
  const { signal, sha256: expected } = options
  signal?.throwIfAborted()
  if (!/^[^/\\\0]+$/.test(name) || name === '.' || name === '..')
    throw new TweedieError('option', `download: expected a name of a file in ${folder}, found ${named(name)}.`)
  await mkdir(folder, { recursive: true }).catch((cause: Error) => {
    throw new TweedieError('option', `cannot make the folder ${folder}: ${cause.message}`, { cause })
  })
  const part = await claim(url, folder, name)
  // A file that arrived whole but is not what it should be will not become so; anything else may go better next time.
  let keep = true
  try {
    const resumedFrom = await transfer(url, part, options)
    const path = join(part, 'data')
    const sha256 = await sha256OfFile(path, signal)
    if (expected !== undefined && !sha256.startsWith(expected)) {
      keep = false
      throw new TweedieError(
        'format',
        `${url}: expected a file with sha256 ${expected}${expected.length < 64 ? '…' : ''}, found ` +
          `${sha256}. It was removed: the server has another file by now, or something between ` +
          'it and here changes files',
      )
    }
    const result = await use({ path, size: await sizeOf(part), sha256, resumedFrom }).catch((error: unknown) => {
      if (error instanceof TweedieError && (error.code === 'format' || error.code === 'weights')) keep = false
      throw error
    })
    keep = false
    return result
  } finally {
    if (keep && (await sizeOf(part)) > 0)
      await rename(part, join(folder, `${name}.free-${token()}.part`)).catch(() => {})
    else await rm(part, { recursive: true, force: true })
  }
}

/** What the bytes of a part belong to. */
interface Origin {
  readonly url: string
  /** An ETag or a date that `If-Range` takes, null where the server gave neither. */
  readonly validator: string | null
  readonly total: number | null
}

const token = (): string => randomBytes(4).toString('hex')

/** Parts are `free`, or a process's; two downloads in one process have different tokens. */
const owner = (): string => `${ownerName(thisProcess())}-${token()}`

/** Node ends a connection that brings nothing for five minutes, so a part untouched for ten has nobody any more. */
const abandoned = 10 * 60_000

/** The longest part of this file that belongs to nobody, else an empty one; now ours. */
async function claim(url: string, folder: string, name: string): Promise<string> {
  const mine = join(folder, `${name}.${owner()}.part`)
  const found: { path: string; size: number }[] = []
  for (const entry of await readdir(folder)) {
    if (!entry.startsWith(`${name}.`) || !entry.endsWith('.part')) continue
    const path = join(folder, entry)
    if (await isFree(path, entry.slice(name.length + 1))) found.push({ path, size: await sizeOf(path) })
  }
  for (const { path } of found.sort((a, b) => b.size - a.size)) {
    // Another process may have been faster, or the part is of another address.
    if (
      !(await rename(path, mine).then(
        () => true,
        () => false,
      ))
    )
      continue
    if ((await originOf(mine))?.url === url) return mine
    await rm(mine, { recursive: true, force: true })
  }
  await mkdir(mine)
  return mine
}

async function isFree(path: string, name: string): Promise<boolean> {
  if (name.startsWith('free-')) return true
  const known = ownerIn(name.replace(/-[0-9a-f]+\.part$/, ''))
  if (known && isRunning(known) === false) return true
  const touched = await stat(join(path, 'data'))
    .catch(() => stat(path))
    .then(
      ({ mtimeMs }) => mtimeMs,
      () => Infinity,
    )
  return Date.now() - touched > abandoned
}

const sizeOf = (part: string): Promise<number> =>
  stat(join(part, 'data')).then(
    ({ size }) => size,
    () => 0,
  )

async function originOf(part: string): Promise<Origin | null> {
  try {
    return parseJson<Origin>(
      await readFile(join(part, 'origin.json'), 'utf8'),
      part,
      'where a download is from',
      fieldsOf({ url: aText, validator: anyOf(oneOf(null), aText), total: anyOf(oneOf(null), aCount) }),
    )
  } catch {
    return null
  }
}

/** Milliseconds before a broken transfer is taken up again. */
const pause = 500

/** Until the part is whole. Resolves to the bytes of earlier downloads in it. */
async function transfer(url: string, part: string, options: DownloadOptions): Promise<number> {
  for (let resumedFrom: number | null = null; ; ) {
    const before = await sizeOf(part)
    try {
      const kept = await attempt(url, part, options)
      return resumedFrom ?? kept
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!(error instanceof Broken)) throw error
      const size = await sizeOf(part)
      if (size <= before)
        throw new TweedieError(
          'format',
          `${url}: the download broke (${error.message}). ` +
            (size > 0 ? `${size} bytes are kept: run it again, and it goes on where it ended` : 'Nothing has arrived'),
          { cause: error },
        )
      resumedFrom ??= error.kept
    }
    await wait(pause, undefined, { signal: options.signal })
  }
}

/** A transfer that ended early. */
class Broken extends Error {
  /** Bytes that its attempt went on with. */
  kept = 0
}

/** One request. Resolves to the bytes it went on with. */
async function attempt(url: string, part: string, { signal, onProgress }: DownloadOptions): Promise<number> {
  const known = await originOf(part)
  const size = known ? await sizeOf(part) : 0
  if (known && size > 0 && size === known.total) {
    onProgress?.(size, known.total)
    return size
  }
  // With neither a validator nor a length nothing tells whether the rest belongs to the same file.
  const resumes = known !== null && size > 0 && (known.validator ?? known.total) !== null
  const response = await ask(url, signal, resumes ? { size, validator: known.validator } : null)
  const range = resumes && response.status === 206 ? rangeOf(response) : null
  const goesOn = resumes && range?.start === size && range.total === known.total
  if (!goesOn && response.status !== 200) {
    await response.body?.cancel()
    if (!resumes)
      throw new TweedieError('option', `${url}: expected the whole file with status 200, found ${response.status}`)
    // Another file by now, or a server that counts differently: from the start.
    await rm(join(part, 'data'), { force: true })
    await rm(join(part, 'origin.json'), { force: true })
    return attempt(url, part, { signal, onProgress })
  }
  const total = goesOn ? known.total : lengthOf(response)
  try {
    checkSize(url, total ?? 0)
  } catch (error) {
    await response.body?.cancel()
    throw error
  }
  if (!goesOn) {
    await rm(join(part, 'data'), { force: true })
    await writeFile(
      join(part, 'origin.json'),
      JSON.stringify({ url, validator: validatorOf(response), total } satisfies Origin),
    )
  }
  const kept = goesOn ? size : 0
  const file = await open(join(part, 'data'), 'a')
  try {
    let done = kept
    onProgress?.(done, total)
    for await (const piece of pieces(response)) {
      signal?.throwIfAborted()
      await file.writeFile(piece)
      done += piece.byteLength
      // What is too large will not become smaller, and is not kept.
      if (done > mostBytes) await rm(join(part, 'data'), { force: true })
      checkSize(url, done)
      onProgress?.(done, total)
    }
    if (total !== null && done !== total) throw new Broken(`${done} of ${total} bytes arrived`)
    await file.sync()
    return kept
  } catch (error) {
    if (error instanceof Broken) error.kept = kept
    throw error
  } finally {
    await file.close()
  }
}

/** Failures of the network, not those of the disk, are {@link Broken}. */
async function* pieces(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = response.body?.getReader()
  if (!reader) return
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: Error) => {
        throw new Broken(reasonOf(cause), { cause })
      })
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

async function ask(
  url: string,
  signal: AbortSignal | undefined,
  from: { size: number; validator: string | null } | null,
): Promise<Response> {
  const headers: Record<string, string> = { 'Accept-Encoding': 'identity' }
  if (from) {
    headers.Range = `bytes=${from.size}-`
    if (from.validator !== null) headers['If-Range'] = from.validator
  }
  const response = await fetchByProxy(url, { headers, signal: signal ?? null }).catch((cause: Error) => {
    signal?.throwIfAborted()
    throw new Broken(reasonOf(cause), { cause })
  })
  if (response.ok || (from && response.status === 416)) return response
  await response.body?.cancel()
  throw new TweedieError(
    'option',
    `${url}: the server answered ${response.status} ${response.statusText}. ${remedyOf(response)}`,
  )
}

/** `fetch` itself says "fetch failed" and hides why. */
const reasonOf = ({ message, cause }: Error): string =>
  cause instanceof Error ? `${message}: ${cause.message}` : message

async function sha256OfFile(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, signal ? { signal } : {})) hash.update(chunk as Uint8Array)
  signal?.throwIfAborted()
  return hash.digest('hex')
}
