/**
 * A folder of PNG and JPEG files, with all folders in it. Opening reads only the beginning of each file, for its size
 * and channels; pixels are decoded when they are asked for, and kept while they fit into 256 MiB: of a set that is
 * larger a part then comes from memory in every epoch, where a cache that drops the oldest would never be of use.
 */
import { open, readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TweedieError } from '../errors.ts'
import { decodeImage, imageHeader } from './decode.ts'
import type { Image, ImageHeader } from './image.ts'
import type { ImageSet } from './image-set.ts'
import { sha256 } from './sha256.ts'

/** Where the class of a file stands: in the name of its first sub-folder, or in its own name before the first "_". */
export type ClassesBy = 'folder' | 'prefix' | 'none'

export interface FolderOptions {
  /** Default: 'folder' where every file lies in a sub-folder, otherwise 'none'. */
  readonly classesBy?: ClassesBy
  readonly signal?: AbortSignal
}

const cacheBytes = 2 ** 28
/** Files open at a time. */
const atOnce = 16
/** Covers the headers of nearly all JPEGs; for the others the whole file is read. */
const headerBytes = 2 ** 16

/**
 * Opens a folder; images are sorted by their names as strings, and so are classes.
 *
 * @throws TweedieError 'option' for no image or names without the classes asked for; 'format', naming the file, for
 * one that cannot be read as an image
 */
export async function openFolder(path: string, { classesBy, signal }: FolderOptions = {}): Promise<ImageSet> {
  const { names, ignored } = await list(path, signal)
  const wrong = (message: string): never => {
    throw new TweedieError('option', `${path}: ${message}`)
  }
  const others = ignored.length === 0 ? '' : `${ignored.slice(0, 4).join(', ')}${ignored.length > 4 ? ` and ${ignored.length - 4} more` : ''}`
  if (names.length === 0) {
    const container = ignored.find((name) => /\.npz$|images.*idx3/.test(name))
    wrong(`holds no PNG or JPEG${others && `, only ${others}`}. ${container ? `Name the file itself: ${join(path, container)}` : 'Name a folder of images, an .npz or an IDX file.'}`)
  }
  const headers = new Array<ImageHeader & { bytes: number }>(names.length)
  let next = 0
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let i = next++; i < names.length; i = next++) {
      signal?.throwIfAborted()
      headers[i] = await readHeader(join(path, names[i]))
    }
  }))
  const { labels, classes } = classesOf(path, names, classesBy)
  const cache = new Map<number, Image>()
  let cached = 0
  return {
    name: path,
    length: names.length,
    channels: headers.some(({ channels }) => channels === 3) ? 3 : 1,
    ...classes && { labels, classes },
    columns: new Map(),
    notes: ignored.length === 0 ? [] : [`${ignored.length} file${ignored.length === 1 ? ' is' : 's are'} no PNG or JPEG and not used: ${others}.`],
    fingerprint: sha256(...names.map((name, i) => `${name}\0${headers[i].bytes}\n`)),
    imageName: (index) => names[index],
    sizeOf: (index) => ({ width: headers[index].width, height: headers[index].height }),
    async read(index, signal) {
      const kept = cache.get(index)
      if (kept) return kept
      const file = join(path, names[index])
      const bytes = await readFile(file, { signal }).catch((cause: unknown) => refuse(file, cause, signal))
      const image = decodeImage(bytes, file)
      if (!cache.has(index) && cached + image.data.length <= cacheBytes) {
        cache.set(index, image)
        cached += image.data.length
      }
      return image
    },
  }
}

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
    // In a folder that `tweedie sample` made, the contact sheet is no sample, and base-*.png only the first stage of one.
    const sampled = entries.some(({ name }) => name === 'run.json')
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue
      const name = below + entry.name
      const folder = entry.isDirectory() || (entry.isSymbolicLink() && (await stat(join(root, name))).isDirectory())
      if (folder) await walk(`${name}/`)
      else if (/\.(png|jpe?g)$/i.test(name) && !(sampled && /^(contact-sheet|base-\d+)\.png$/.test(entry.name))) names.push(name)
      else ignored.push(name)
    }
  }
  await walk('').catch((cause: unknown) => refuse(root, cause, signal))
  return { names: names.sort(), ignored: ignored.sort() }
}

async function readHeader(file: string): Promise<ImageHeader & { bytes: number }> {
  const handle = await open(file, 'r').catch((cause: unknown) => refuse(file, cause))
  try {
    const { size } = await handle.stat()
    const start = Buffer.alloc(Math.min(size, headerBytes))
    await handle.read(start, 0, start.length, 0)
    const header = imageHeader(start, file) ?? imageHeader(await readFile(file), file)
    if (!header) throw new TweedieError('format', `${file}: a damaged JPEG (its header is cut short).`)
    return { ...header, bytes: size }
  } finally {
    await handle.close()
  }
}

function classesOf(path: string, names: readonly string[], asked?: ClassesBy): { labels?: Int32Array; classes?: string[] } {
  const by = asked ?? (names.every((name) => name.includes('/')) ? 'folder' : 'none')
  if (by === 'none') return {}
  const classOf = (name: string): string => {
    const found = by === 'folder' ? /^(.*?)\//.exec(name) : /^(.*?)_/.exec(name.split('/').at(-1) as string)
    if (found) return found[1]
    throw new TweedieError('option', by === 'folder'
      ? `${path}: ${name} lies in no sub-folder, but classes are to be the names of sub-folders. Move it into one, or choose classes by "prefix" or "none".`
      : `${path}: the name of ${name} has no "_", but classes are to be what stands before it. Choose classes by "folder" or "none".`)
  }
  const own = names.map(classOf)
  const classes = [...new Set(own)].sort()
  const numbers = new Map(classes.map((name, c) => [name, c]))
  return { labels: Int32Array.from(own, (name) => numbers.get(name) as number), classes }
}

function refuse(path: string, cause: unknown, signal?: AbortSignal): never {
  signal?.throwIfAborted()
  if (cause instanceof TweedieError) throw cause
  throw new TweedieError('option', `cannot read ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
}
