/**
 * The files of a set of images as a file of its own, JSON, a line a file, so that a million of them are no burden:
 * `[name, sha256, width, height, channels, stamp, whole]`. It is for a look at what changed, and spares decoding.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { writeFileAtomic } from '../io/file.node.ts'
import type { ImageFile } from './image-set.ts'

type Line = readonly [
  name: string,
  sha256: string,
  width: number,
  height: number,
  channels: 1 | 3,
  stamp: string,
  whole: 0 | 1,
]

/** What {@link writeImageFiles} wrote, by name; as far as it can be read, and nothing where there is no such file. */
export async function readImageFiles(path: string): Promise<ReadonlyMap<string, ImageFile>> {
  const found = new Map<string, ImageFile>()
  try {
    for await (const line of createInterface({ input: createReadStream(path) })) {
      const [name, sha256, width, height, channels, stamp, whole] = JSON.parse(line) as Line
      const sizes = [width, height].every((n) => Number.isSafeInteger(n) && n > 0)
      if (!sizes || ![1, 3].includes(channels) || [name, sha256, stamp].some((text) => typeof text !== 'string'))
        throw new Error('not ours')
      found.set(name, { name, sha256, width, height, channels, stamp, whole: whole === 1 })
    }
  } catch {
    // None there, or not ours: the files are looked at.
  }
  return found
}

/** Writes it whole or not at all. */
export async function writeImageFiles(path: string, files: readonly ImageFile[]): Promise<void> {
  function* lines(): Generator<Uint8Array> {
    for (let begin = 0; begin < files.length; begin += 1000) {
      const some = files
        .slice(begin, begin + 1000)
        .map(({ name, sha256, width, height, channels, stamp, whole }) =>
          JSON.stringify([name, sha256, width, height, channels, stamp, whole ? 1 : 0] satisfies Line),
        )
      yield new TextEncoder().encode(`${some.join('\n')}\n`)
    }
  }
  await writeFileAtomic(path, lines())
}

/**
 * What became of files since they were `before`, for people: "1 removed (a.png), 2 added (b.png, c.png)". Empty if
 * nothing, or if it is not known, of a set that is no folder.
 */
export function changedFiles(before: ReadonlyMap<string, ImageFile>, files: readonly ImageFile[] = []): string {
  if (before.size === 0 || files.length === 0) return ''
  const now = new Map(files.map((one) => [one.name, one]))
  const groups = {
    removed: [...before.keys()].filter((name) => !now.has(name)),
    added: [...now.keys()].filter((name) => !before.has(name)),
    changed: [...now.values()]
      .filter(({ name, sha256 }) => before.has(name) && before.get(name)!.sha256 !== sha256)
      .map(({ name }) => name),
  }
  const named = (names: readonly string[]): string =>
    `${names.slice(0, 10).join(', ')}${names.length > 10 ? `, … and ${names.length - 10} more` : ''}`
  return Object.entries(groups)
    .filter(([, names]) => names.length > 0)
    .map(([what, names]) => `${names.length} ${what} (${named(names)})`)
    .join(', ')
}
