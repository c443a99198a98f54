/**
 * A folder of PNG and JPEG files, with all folders in it. Opening reads each file once, for the hash of its
 * contents, its size and its channels; pixels are decoded when they are asked for, and kept while they fit into 256
 * MiB: of a set that is larger a part then comes from memory in every epoch, where a cache that drops the oldest
 * would never be of use.
 */
import { createHash } from 'node:crypto'
import { open, readdir, readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { messageOf, TweedieError } from '../errors.ts'
import { atMost } from './at-most.ts'
import { cifarBatches, cifarNames, cifarSet } from './cifar.ts'
import { decodeInTurns, imageHeader } from './decode.ts'
import type { Image } from './image.ts'
import type { ImageFile, ImageSet } from './image-set.ts'
import { damagedImages, damagedLines, lookThrough, type DamagedImage } from './look.ts'

import { isVolume, openVolumes } from './volumes.node.ts'

/** Where the class of a file stands: in the name of its first sub-folder, or in its own name before the first "_". */
export type ClassesBy = 'folder' | 'prefix' | 'none'

/** What `openImages` is told beside the path: where the classes of a folder's images come from, and when to stop. */
export interface OpenImagesOptions {
  /** Default: 'folder' where every file lies in a sub-folder, otherwise 'none'. */
  readonly classesBy?: ClassesBy
  readonly signal?: AbortSignal
  /** Files as an earlier look found them, by name: those that have not changed since are not read again. */
  readonly known?: ReadonlyMap<string, ImageFile>
  /**
   * The images will all be decoded: where some are no images at all, the error names those too that are damaged further
   * in.
   */
  readonly whole?: boolean
  /**
   * Files that cannot be read as images are left out of the set, and {@link ImageSet.leftOut} names them; every file is
   * decoded to know them. Default: one such file is an error, which names all.
   */
  readonly skipBad?: boolean
  /** Called with the number of files read, and of all. */
  readonly onProgress?: (done: number, total: number) => void
}

const cacheBytes = 2 ** 28
/** Files open at a time. */
const atOnce = 16

/**
 * Opens a folder; images are sorted by their names as strings, and so are classes, but for those that are all numbers,
 * which are sorted as such.
 *
 * @throws TweedieError 'option' for no image or names without the classes asked for; 'format', naming the files, for
 * those that cannot be read as images, all of them
 */
export async function openFolder(path: string, options: OpenImagesOptions = {}): Promise<ImageSet> {
  const { classesBy, signal, known, whole, skipBad, onProgress } = options
  const { names, bad, ignored } = await list(path, signal)
  const wrong = (message: string): never => {
    throw new TweedieError('option', `${path}: ${message}`)
  }
  if (names.length === 0 && bad.size === 0) {
    const volumes = ignored.filter(isVolume)
    if (volumes.length > 0) {
      const { labels, classes } = classesOf(path, volumes, classesBy)
      return openVolumes(path, volumes, { ...(labels && { labels, classes }) }, options)
    }
    const batches = cifarBatches(ignored)
    if (batches.length > 0)
      return openCifar(
        batches.map((name) => join(path, name)),
        path,
      )
    const container = ignored.find((name) => /\.npz$|images.*idx3/.test(name))
    const advice = container
      ? `Name the file itself: ${join(path, container)}`
      : ignored.some((name) => /(^|\/)data\.mdb$/.test(name))
        ? 'That is an LMDB, as LSUN is handed out: write its values, which are JPEG files, into a folder ' +
          '(python3 data.py export FOLDER --out_dir IMAGES --flat, of github.com/fyu/lsun).'
        : 'Name a folder of images, an .npz or an IDX file.'
    wrong(`holds no PNG or JPEG${ignored.length > 0 ? `, only ${few(ignored)}` : ''}. ${advice}`)
  }
  let looked: Looked[] = []
  const errors = new Map(bad)
  let [next, done] = [0, 0]
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let i = next++; i < names.length; i = next++) {
        signal?.throwIfAborted()
        try {
          looked[i] = await look(path, names[i], known)
        } catch (error) {
          if (!(error instanceof TweedieError)) throw error
          errors.set(names[i], error)
        }
        onProgress?.(++done, names.length)
      }
    }),
  )
  // Without holes, where files are no images.
  looked = looked.filter(() => true)
  if ((whole && errors.size > 0) || skipBad) {
    const files = looked.map(({ file }) => file)
    const set = { files, length: files.length, read: reader(path, files) }
    for (const { index, error } of await lookThrough(set, { signal, onProgress })) errors.set(files[index].name, error)
    looked = looked.filter(({ file }) => !errors.has(file.name))
  }
  const damaged = [...errors]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, error], index): DamagedImage & { name: string } => ({ name, index, error }))
  if (damaged.length > 0 && (!skipBad || looked.length === 0)) throw damagedImages(path, damaged)
  const files = looked.map(({ file }) => file)
  const found = files.map(({ name }) => name)
  const { labels, classes, note } = classesOf(path, found, classesBy)
  return {
    name: path,
    length: files.length,
    channels: files.some(({ channels }) => channels === 3) ? 3 : 1,
    ...(classes && { labels, classes }),
    columns: new Map(),
    notes: [
      ...(ignored.length === 0
        ? []
        : [
            `${ignored.length} file${ignored.length === 1 ? ' is' : 's are'} no PNG or JPEG` +
              `${ignored.some(isPicture) ? ', or no sample,' : ''} and not used: ${few(ignored)}.`,
          ]),
      ...(note === undefined ? [] : [note]),
      ...(damaged.length === 0
        ? []
        : [`${damaged.length} of ${files.length + damaged.length} images are left out:${damagedLines(damaged)}`]),
    ],
    ...(damaged.length > 0 && { leftOut: damaged.map(({ name }) => name) }),
    fingerprint: hashOf(files.map(({ name, sha256 }) => `${name}\0${sha256}\n`)),
    formerFingerprint: hashOf(looked.map(({ file: { name }, size }) => `${name}\0${size}\n`)),
    files,
    imageName: (index) => found[index],
    sizeOf: (index) => ({ width: files[index].width, height: files[index].height }),
    read: reader(path, files),
  }
}

/** CIFAR's batches, which lie in one folder, as a set called `name`. */
export async function openCifar(paths: readonly string[], name: string): Promise<ImageSet> {
  const files: Uint8Array[] = []
  for (const path of paths) files.push(await readFile(path).catch((cause: unknown) => refuse(path, cause)))
  const [batch, folder] = [basename(paths[0]), dirname(paths[0])]
  const names = await readFile(join(folder, cifarNames(batch)!)).catch(() => null)
  return cifarSet(name, batch, files, names, hashOf(files))
}

/** A file, and its size in bytes. */
interface Looked {
  readonly file: ImageFile
  readonly size: number
}

/** The first of some names. */
const few = (names: readonly string[]): string =>
  `${names.slice(0, 4).join(', ')}${names.length > 4 ? ` and ${names.length - 4} more` : ''}`

/** Reads and decodes the files of a folder by number, and keeps what fits into {@link cacheBytes}. */
function reader(path: string, files: readonly ImageFile[]): ImageSet['read'] {
  const cache = new Map<number, Image>()
  let cached = 0
  const opening = atMost(atOnce)
  return async (index, signal) => {
    const kept = cache.get(index)
    if (kept) return kept
    const file = join(path, files[index].name)
    const bytes = await opening(() => readFile(file, { signal })).catch((cause: unknown) => refuse(file, cause, signal))
    if (hashOf([bytes]) !== files[index].sha256)
      throw new TweedieError('format', `${file}: another picture than when ${path} was opened. Start again.`)
    const image = await decodeInTurns(bytes, file, signal)
    files[index].whole = true
    if (!cache.has(index) && cached + image.data.length <= cacheBytes) {
      cache.set(index, image)
      cached += image.data.length
    }
    return image
  }
}

const isPicture = (name: string): boolean => /\.(png|jpe?g)$/i.test(name)

/**
 * Files by their path from `root`, with "/"; `bad` are pictures by their names that are no files one can read. Hidden
 * ones are passed over, linked folders followed once.
 */
async function list(
  root: string,
  signal?: AbortSignal,
): Promise<{ names: string[]; bad: Map<string, TweedieError>; ignored: string[] }> {
  const names: string[] = []
  const bad = new Map<string, TweedieError>()
  const ignored: string[] = []
  const seen = new Set<string>()
  const walk = async (below: string): Promise<void> => {
    signal?.throwIfAborted()
    const folder = join(root, below)
    const real = await realpath(folder)
    if (seen.has(real)) return
    seen.add(real)
    const entries = await readdir(folder, { encoding: 'buffer', withFileTypes: true })
    // In a folder that `tweedie sample` made, the contact sheet is no sample, and base-*.png only the first stage of
    // one.
    const sampled = entries.some(({ name }) => name.toString() === 'run.json')
    for (const entry of entries) {
      const own = entry.name.toString()
      if (own.startsWith('.')) continue
      const name = below + own
      const picture = isPicture(name) && !(sampled && /^(contact-sheet|base-\d+)\.png$/.test(own))
      const kind = entry.isSymbolicLink() ? await stat(join(root, name)).catch(nowhere) : entry
      if (kind?.isDirectory()) {
        await walk(`${name}/`)
        continue
      }
      const wrong = !Buffer.from(own).equals(entry.name)
        ? 'its name is no UTF-8: rename it'
        : kind === null
          ? 'a link that leads to no file'
          : kind.isFile()
            ? null
            : 'a pipe or device, and no file'
      if (picture && wrong !== null) bad.set(name, new TweedieError('format', `${join(root, name)}: ${wrong}.`))
      else (picture ? names : ignored).push(name)
    }
  }
  await walk('').catch((cause: unknown) => refuse(root, cause, signal))
  return { names: names.sort(), bad, ignored: ignored.sort() }
}

/** Of a link: that it leads to no file. */
const nowhere = (error: NodeJS.ErrnoException): null => {
  if (['ENOENT', 'ELOOP', 'ENOTDIR'].includes(error.code ?? '')) return null
  throw error
}

const hashOf = (parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

async function look(root: string, name: string, known?: ReadonlyMap<string, ImageFile>): Promise<Looked> {
  const path = join(root, name)
  const handle = await open(path, 'r').catch((cause: unknown) => refuse(path, cause))
  try {
    const { size, mtimeNs, ctimeNs, ino } = await handle.stat({ bigint: true })
    const stamp = [size, mtimeNs, ctimeNs, ino].join()
    const before = known?.get(name)
    if (before?.stamp === stamp) return { file: { ...before }, size: Number(size) }
    const bytes = await handle.readFile().catch((cause: unknown) => refuse(path, cause))
    const header = imageHeader(bytes, path)
    if (!header) throw new TweedieError('format', `${path}: a damaged JPEG (its header is cut short).`)
    const { width, height, channels } = header
    return { file: { name, sha256: hashOf([bytes]), width, height, channels, stamp, whole: false }, size: Number(size) }
  } finally {
    await handle.close()
  }
}

function classesOf(
  path: string,
  names: readonly string[],
  asked?: ClassesBy,
): { labels?: Int32Array; classes?: string[]; note?: string } {
  const outside = names.filter((name) => !name.includes('/'))
  const by = asked ?? (outside.length === 0 ? 'folder' : 'none')
  if (by === 'none') {
    const unused = asked === undefined && outside.length < names.length
    return unused
      ? {
          note:
            `its sub-folders are not used as classes, because ${outside.length} of ${names.length} images lie in ` +
            `none: ${few(outside)}. Move them into one, or say --classes-by none.`,
        }
      : {}
  }
  const classOf = (name: string): string => {
    const found = by === 'folder' ? /^(.*?)\//.exec(name) : /^(.*?)_/.exec(name.split('/').at(-1)!)
    if (found) return found[1]
    throw new TweedieError(
      'option',
      by === 'folder'
        ? `${path}: ${name} lies in no sub-folder, but classes are to be the names of sub-folders. Move it ` +
            'into one, or choose classes by "prefix" or "none".'
        : `${path}: the name of ${name} has no "_", but classes are to be what stands before it. Choose ` +
            'classes by "folder" or "none".',
    )
  }
  const own = names.map(classOf)
  const classes = [...new Set(own)].sort()
  if (classes.every((name) => /^\d+$/.test(name))) classes.sort((a, b) => Number(BigInt(a) - BigInt(b)))
  const numbers = new Map(classes.map((name, c) => [name, c]))
  return { labels: Int32Array.from(own, (name) => numbers.get(name) as number), classes }
}

function refuse(path: string, cause: unknown, signal?: AbortSignal): never {
  signal?.throwIfAborted()
  if (cause instanceof TweedieError) throw cause
  throw new TweedieError('option', `cannot read ${path}: ${messageOf(cause)}`, {
    cause,
  })
}
