import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { readImageFiles } from '../../data/image-files.node.ts'
import { applySelection, parseSelection, type ImageSet } from '../../data/index.ts'
import type { Arguments } from '../arguments.ts'
import { openData } from '../options/data.ts'
import type { imageOptions, trainOptions } from '../options/training.ts'
import { imagesFile } from './train-images.ts'

/** The images to train on, and those the selection holds out of it, if it does. */
export async function openTrainingData(
  args: Arguments<typeof imageOptions & Pick<typeof trainOptions, 'out'>>,
  signal: AbortSignal,
): Promise<{ set: ImageSet; heldOut: ImageSet | null }> {
  const known = await readImageFiles(imagesFile(resolve(args.required('out'))))
  const set = await openData(args, signal, { known, whole: true })
  const selection = args.get('select')
  if (selection === undefined || !set.origin || args.get('part') !== 'train') return { set, heldOut: null }
  const text = await readFile(selection, 'utf8')
  const heldOut =
    'held-out' in parseSelection(text, selection).parts
      ? applySelection(set.origin.set, text, 'held-out', selection)
      : null
  return { set, heldOut }
}
