/**
 * A folder of PNG and JPEG files, with all folders in it. Opening reads each file once, for the hash of its
 * contents, its size and its channels; pixels are decoded when they are asked for, and kept while they fit into 256
 * MiB: of a set that is larger a part then comes from memory in every epoch, where a cache that drops the oldest
 * would never be of use.
 */
import { createHash } from 'node:crypto'
import { open, readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, TweedieError } from '../errors.ts'
import { atMost } from './at-most.ts'
import { decodeInTurns, imageHeader } from './decode.ts'
import type { Image } from './image.ts'
import type { ImageFile, ImageSet } from './image-set.ts'
import { damagedImages, lookThrough, type DamagedImage } from './look.ts'

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
  /** Called with the number of files read, and of all. */
  readonly onProgress?: (done: number, total: number) => void
}

const cacheBytes = 2 ** 28
/** Files open at a time. */
const atOnce = 16

/**
 * Opens a folder; images are sorted by their names as strings, and so are classes.
 *
 * @throws TweedieError 'option' for no image or names without the classes asked for; 'format', naming the files, for
 * those that cannot be read as images, all of them
 */
export async function openFolder(
  path: string,
  { classesBy, signal, known, whole, onProgress }: OpenImagesOptions = {},
): Promise<ImageSet> {
  const { names, ignored } = await list(path, signal)
  const wrong = (message: string): never => {
    throw new TweedieError('option', `${path}: ${message}`)
  }
  const others =
    ignored.length === 0
      ? ''
      : `${ignored.slice(0, 4).join(', ')}${ignored.length > 4 ? ` and ${ignored.length - 4} more` : ''}`
  if (names.length === 0) {
    const container = ignored.find((name) => /\.npz$|images.*idx3/.test(name))
    const advice = container
      ? `Name the file itself: ${join(path, container)}`
      : 'Name a folder of images, an .npz or an IDX file.'
    wrong(`holds no PNG or JPEG${others && `, only ${others}`}. ${advice}`)
  }
  const files = new Array<ImageFile>(names.length)
  const sizes = new Array<number>(names.length)
  const damaged: DamagedImage[] = []
  let [next, done] = [0, 0]
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let i = next++; i < names.length; i = next++) {
        signal?.throwIfAborted()
        try {
          ;({ file: files[i], size: sizes[i] } = await look(path, names[i], known))
        } catch (error) {
          if (!(error instanceof TweedieError)) throw error
          damaged.push({ index: i, error })
        }
        onProgress?.(++done, names.length)
      }
    }),
  )
  const cache = new Map<number, Image>()
  let cached = 0
  const opening = atMost(atOnce)
  const read = async (index: number, signal?: AbortSignal): Promise<Image> => {
    const kept = cache.get(index)
    if (kept) return kept
    const file = join(path, names[index])
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
  if (damaged.length > 0) {
    const rest = whole ? await lookThrough({ files, length: names.length, read }, { signal, onProgress }) : []
    throw damagedImages(
      path,
      [...damaged, ...rest].sort((a, b) => a.index - b.index),
    )
  }
  const { labels, classes } = classesOf(path, names, classesBy)
  return {
    name: path,
    length: names.length,
    channels: files.some(({ channels }) => channels === 3) ? 3 : 1,
    ...(classes && { labels, classes }),
    columns: new Map(),
    notes:
      ignored.length === 0
        ? []
        : [
            `${ignored.length} file${ignored.length === 1 ? ' is' : 's are'} no PNG or JPEG` +
              `${ignored.some(isPicture) ? ', or no sample,' : ''} and not used: ${others}.`,
          ],
    fingerprint: hashOf(names.map((name, i) => `${name}\0${files[i].sha256}\n`)),
    formerFingerprint: hashOf(names.map((name, i) => `${name}\0${sizes[i]}\n`)),
    files,
    imageName: (index) => names[index],
    sizeOf: (index) => ({ width: files[index].width, height: files[index].height }),
    read,
  }
}

const isPicture = (name: string): boolean => /\.(png|jpe?g)$/i.test(name)

/** Files by their path from `root`, with "/". Hidden ones are passed over, linked folders followed once. */
async function list(root: string, signal?: AbortSignal): Promise<{ names: string[]; ignored: string[] }> {
  const names: string[] = []
  const ignored: string[] = []
  const seen = new Set<string>()
  const walk = async (below: string): Promise<void> => {
    signal?.throwIfAborted()
    const folder = join(root, below)
    const real = await realpath(folder)
    if (seen.has(real)) return
    seen.add(real)
    const entries = await readdir(folder, { withFileTypes: true })
    // In a folder that `tweedie sample` made, the contact sheet is no sample, and base-*.png only the first stage of
    // one.
    const sampled = entries.some(({ name }) => name === 'run.json')
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue
      const name = below + entry.name
      const folder = entry.isDirectory() || (entry.isSymbolicLink() && (await stat(join(root, name))).isDirectory())
      if (folder) await walk(`${name}/`)
      else if (isPicture(name) && !(sampled && /^(contact-sheet|base-\d+)\.png$/.test(entry.name))) names.push(name)
      else ignored.push(name)
    }
  }
  await walk('').catch((cause: unknown) => refuse(root, cause, signal))
  return { names: names.sort(), ignored: ignored.sort() }
}

const hashOf = (parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

async function look(
  root: string,
  name: string,
  known?: ReadonlyMap<string, ImageFile>,
): Promise<{ file: ImageFile; size: number }> {
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
): { labels?: Int32Array; classes?: string[] } {
  const by = asked ?? (names.every((name) => name.includes('/')) ? 'folder' : 'none')
  if (by === 'none') return {}
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
