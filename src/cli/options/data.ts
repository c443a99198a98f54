/** The data of a command: `--data`, and which part of it a selection says. */
import { readFile } from 'node:fs/promises'
import {
  applySelection,
  checkImages,
  openImages,
  type ImageSet,
  type OpenImagesOptions,
} from '../../data/index.node.ts'
import { fail, type Arguments } from '../arguments.ts'
import { choice, file, flag, images, text } from '../option.ts'
import { slowProgress } from '../progress.ts'
import { tell } from '../print.ts'

/** Of every command that opens folders of people's. */
export const skipBadOption = flag({
  help: 'of a folder: leave out files that cannot be read as images, and say which (every one is decoded first)',
})

export const classOptions = {
  'classes-by': choice(['folder', 'prefix', 'none'], {
    value: 'WHAT',
    help: 'for a folder: folder (names of sub-folders), prefix (of file names, before "_") or none',
    otherwise: 'folder where every image lies in one',
  }),
  'skip-bad': skipBadOption,
}

export const dataOptions = {
  data: images({ value: 'DATA', help: 'a folder of PNG and JPEG files, an .npz, or an IDX file' }),
  select: file({ value: 'FILE', help: 'use what a selection of tweedie select says' }),
  part: text({ value: 'NAME', help: 'which part of the selection: train or held-out', default: 'train' }),
  ...classOptions,
}

type More = Pick<OpenImagesOptions, 'known' | 'whole'>

/**
 * Opens images under a bar. What was found and is not used, or left out, is told on standard error, those of its notes
 * that are `said`.
 */
export async function openNoted(
  path: string,
  options: OpenImagesOptions,
  said: (note: string) => boolean = () => true,
): Promise<ImageSet> {
  const bar = slowProgress(`Reading ${path}`, 'files')
  const set = await openImages(path, { ...options, onProgress: bar.update }).finally(bar.stop)
  for (const note of set.notes.filter(said)) tell(`${set.name}: ${note}`)
  return set
}

export function openClasses(
  path: string,
  args: Arguments<typeof classOptions>,
  signal?: AbortSignal,
  more: More = {},
): Promise<ImageSet> {
  const classesBy = args.get('classes-by')
  const skipBad = args.get('skip-bad')
  return openNoted(path, {
    ...(classesBy && { classesBy }),
    ...(skipBad && { skipBad }),
    ...(signal && { signal }),
    ...more,
  })
}

/** Opens what {@link dataOptions} say. */
export async function openData(
  args: Arguments<typeof dataOptions>,
  signal?: AbortSignal,
  more: More = {},
): Promise<ImageSet> {
  const selection = args.get('select')
  if (args.has('part') && selection === undefined) fail('--part is a part of a selection: --select names its file.')
  const set = await openClasses(
    args.required('data', ': a folder of images, an .npz or an IDX file'),
    args,
    signal,
    more,
  )
  if (selection === undefined) return set
  return applySelection(set, await selectionText(selection), args.get('part'), selection)
}

/** Looks at the images' sizes, as {@link checkImages} does, and says how many are enlarged. */
export function fitImages(set: ImageSet, options: Parameters<typeof checkImages>[1], fewest?: number): void {
  const smaller = checkImages(set, options, fewest)
  if (smaller > 0)
    tell(
      `${set.name}: ${smaller} of ${set.length} images have a side below ${options.size} pixels and are enlarged, as ` +
        'guided-diffusion does.',
    )
}

/** What a file of `tweedie select` says. */
export const selectionText = (path: string): Promise<string> =>
  readFile(path, 'utf8').catch((error: Error) => fail(`cannot read ${path}: ${error.message}`))
