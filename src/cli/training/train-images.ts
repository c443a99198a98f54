/**
 * The images of a training run: they are looked at before it begins, and a record in its folder says which files they
 * were. From there a run that goes on knows which are not what they were, and which it need not look at again.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeImageFiles } from '../../data/image-files.node.ts'
import { damagedImages, lookThrough, type DamagedImage, type ImageSet } from '../../data/index.ts'
import { exists } from '../../io/file.node.ts'
import { slowProgress } from '../progress.ts'

/** The record in the folder of a run. */
export const imagesFile = (out: string): string => join(out, 'images.jsonl')

/** Writes it, where the images are files. */
export async function writeImages(out: string, { files }: ImageSet): Promise<void> {
  if (!files) return
  await mkdir(out, { recursive: true })
  await writeImageFiles(imagesFile(out), files)
}

/**
 * Decodes every image of the sets, all parts of one. What was looked at in vain is remembered in the folder `out`,
 * unless that holds a run, whose images they need not be.
 *
 * @throws TweedieError 'format', naming all that are damaged
 */
export async function lookAt(sets: readonly (ImageSet | null)[], signal: AbortSignal, out?: string): Promise<void> {
  const damaged: DamagedImage[] = []
  const parts = sets.filter((set) => set !== null)
  try {
    for (const set of parts) {
      const bar = slowProgress('Looking at the images', 'images')
      damaged.push(...(await lookThrough(set, { signal, onProgress: bar.update }).finally(bar.stop)))
    }
    if (damaged.length > 0) throw damagedImages(parts[0].name, damaged)
  } catch (error) {
    if (out !== undefined && !(await exists(join(out, 'state.safetensors')))) await writeImages(out, whole(parts[0]))
    throw error
  }
}

/** The set that a part was taken from. */
const whole = (set: ImageSet): ImageSet => set.origin?.set ?? set
