/**
 * The images of a training run: they are looked at before it begins, and `images.jsonl` in its folder says which files they
 * were. From there a run that goes on knows which are not what they were, and which it need not look at again. A line a
 * file, so that a million of them are no burden.
 */
import { createReadStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { damagedImages, lookThrough, type DamagedImage, type ImageFile, type ImageSet } from '../../data/index.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { exists } from '../exists.ts'
import { slowProgress } from '../progress.ts'

const file = 'images.jsonl'

export type ImageFiles = ReadonlyMap<string, ImageFile>

/** What `images.jsonl` of a run says, by name; as far as it can be read. */
export async function imagesOf(out: string): Promise<ImageFiles> {
  const found = new Map<string, ImageFile>()
  try {
    for await (const line of createInterface({ input: createReadStream(join(out, file)) })) {
      const [name, sha256, width, height, channels, stamp, whole] = JSON.parse(line) as [string, string, number, number, 1 | 3, string, 0 | 1]
      if (![width, height].every((n) => Number.isSafeInteger(n) && n > 0) || ![1, 3].includes(channels) || [name, sha256, stamp].some((text) => typeof text !== 'string')) throw new Error('not ours')
      found.set(name, { name, sha256, width, height, channels, stamp, whole: whole === 1 })
    }
  } catch {
    // None there, or not ours: the files are looked at.
  }
  return found
}

/** Writes it, where the images are files. */
export async function writeImages(out: string, { files }: ImageSet): Promise<void> {
  if (!files) return
  function* lines(): Generator<Uint8Array> {
    for (let begin = 0; begin < files!.length; begin += 1000) {
      const some = files!.slice(begin, begin + 1000).map(({ name, sha256, width, height, channels, stamp, whole }) => JSON.stringify([name, sha256, width, height, channels, stamp, whole ? 1 : 0]))
      yield new TextEncoder().encode(`${some.join('\n')}\n`)
    }
  }
  await mkdir(out, { recursive: true })
  await writeFileAtomic(join(out, file), lines())
}

/** What became of the files, for people: "1 removed (a.png), 2 added (b.png, c.png)". Empty if nothing, or if it is not known. */
export function changesOf(before: ImageFiles, { files }: ImageSet): string {
  if (before.size === 0 || !files) return ''
  const now = new Map(files.map((one) => [one.name, one]))
  const groups = {
    removed: [...before.keys()].filter((name) => !now.has(name)),
    added: [...now.keys()].filter((name) => !before.has(name)),
    changed: [...now.values()].filter(({ name, sha256 }) => before.has(name) && before.get(name)!.sha256 !== sha256).map(({ name }) => name),
  }
  const named = (names: readonly string[]): string => `${names.slice(0, 10).join(', ')}${names.length > 10 ? `, … and ${names.length - 10} more` : ''}`
  return Object.entries(groups).filter(([, names]) => names.length > 0).map(([what, names]) => `${names.length} ${what} (${named(names)})`).join(', ')
}

/**
 * Decodes every image of the sets, all parts of one. What was looked at in vain is remembered in the folder `out`, unless
 * that holds a run, whose images they need not be.
 *
 * @throws TweedieError 'format', naming all that are damaged
 */
export async function lookAt(sets: readonly (ImageSet | null)[], signal: AbortSignal, out?: string): Promise<void> {
  const damaged: DamagedImage[] = []
  const parts = sets.filter((set) => set !== null)
  try {
    for (const set of parts) {
      const bar = slowProgress('Looking at the images', 'images')
      damaged.push(...await lookThrough(set, { signal, onProgress: bar.update }).finally(bar.stop))
    }
    if (damaged.length > 0) throw damagedImages(parts[0]!.name, damaged)
  } catch (error) {
    if (out !== undefined && !await exists(join(out, 'state.safetensors'))) await writeImages(out, whole(parts[0]!))
    throw error
  }
}

/** The set that a part was taken from. */
const whole = (set: ImageSet): ImageSet => set.origin?.set ?? set
