import { TweedieError } from '../errors.ts'
import {
  aCount,
  aNumber,
  aText,
  fieldsOf,
  jsonText,
  listOf,
  oneOf,
  optional,
  parseJson,
  valuesOf,
  type Check,
} from '../io/json.ts'
import { subset, type ImageSet } from './image-set.ts'
import { permutation } from './random.ts'

/** What {@link selectImages} chooses: a long tail, a part that is held out, or both. */
export interface SelectOptions {
  /**
   * Imbalance factor IF ≥ 1: of C classes in their order, class c keeps max · IF^(-c / (C - 1)) images, rounded down
   * but at least one, where max is the size of the largest class. A class that has no more than that keeps all.
   */
  readonly longTail?: number
  /** Of volumes: the positions along the third axis, from 0, of the slices that are taken. Default: all. */
  readonly slices?: readonly number[]
  /** The fraction of the groups, or of the images, that is held out: between 0 and 1. */
  readonly holdOut?: number
  /** The column whose equal numbers make a group, which stays together. Default: every image by itself. */
  readonly by?: string
  /** Of what is drawn at random. Default 0. */
  readonly seed?: number
}

/**
 * What stands in a selection file, which is JSON: the indices themselves, ascending, and the fingerprint of the data
 * that they belong to.
 */
export interface Selection {
  readonly program: 'tweedie'
  readonly kind: 'selection'
  /** The name of the set. */
  readonly data: string
  readonly fingerprint: string
  /** What was asked for. */
  readonly how: SelectOptions
  /** `train` and, where something is held out, `held-out`. */
  readonly parts: Readonly<Record<string, readonly number[]>>
  /** Files of the folder that could not be read as images, and are no part of the set. */
  readonly leftOut?: readonly string[]
}

/**
 * Which images of a set are used: a long tail made of balanced classes, and a part held out of training. First the long
 * tail, then the part that is held out of it, so that both parts have the same tail.
 *
 * @throws TweedieError 'option' for a set without classes or without the column, and where a part would be empty
 */
export function selectImages(set: ImageSet, { longTail, slices, holdOut, by, seed = 0 }: SelectOptions): Selection {
  if (by !== undefined && holdOut === undefined)
    throw new TweedieError('option', `Groups by ${by} are held out together: say which fraction to hold out.`)
  const taken = slices === undefined ? Array.from({ length: set.length }, (_, i) => i) : atPositions(set, slices)
  const kept = longTail === undefined ? taken : longTailed(set, taken, longTail, seed)
  const parts = holdOut === undefined ? { train: kept } : heldOut(set, kept, holdOut, by, seed)
  const how = {
    ...(longTail !== undefined && { longTail }),
    ...(slices !== undefined && { slices }),
    ...(holdOut !== undefined && { holdOut }),
    ...(by !== undefined && { by }),
    seed,
  }
  return {
    program: 'tweedie',
    kind: 'selection',
    data: set.name,
    fingerprint: set.fingerprint,
    how,
    parts,
    ...(set.leftOut && { leftOut: set.leftOut }),
  }
}

/** The slices at these positions of their volumes. */
function atPositions(set: ImageSet, positions: readonly number[]): number[] {
  const column = set.columns.get('slice')
  if (!column)
    throw new TweedieError('option', `${set.name}: slices are of volumes (NIfTI, .nii or .nii.gz), and here are none.`)
  const wanted = new Set(positions)
  const found = Array.from({ length: set.length }, (_, i) => i).filter((i) => wanted.has(column[i]))
  if (found.length === 0)
    throw new TweedieError('option', `${set.name}: no volume has a slice at any of the positions asked for.`)
  return found
}

function longTailed(set: ImageSet, taken: readonly number[], factor: number, seed: number): number[] {
  if (!(factor >= 1 && factor < Infinity))
    throw new TweedieError('option', `An imbalance factor is a number of 1 or more, found ${factor}.`)
  const counts = classCounts(set, taken)
  if (counts.length < 2)
    throw new TweedieError(
      'option',
      `${set.name}: a long tail needs two classes or more, found ${counts.length || 'none'}.`,
    )
  const largest = Math.max(...counts)
  const room = counts.map((_, c) => Math.max(1, Math.floor(largest * factor ** (-c / (counts.length - 1)) + 1e-9)))
  const labels = set.labels as Int32Array
  const among = new Set(taken)
  return [...permutation(set.length, seed, 'select', 0)]
    .filter((index) => among.has(index) && room[labels[index]]-- > 0)
    .sort((a, b) => a - b)
}

function heldOut(
  set: ImageSet,
  kept: readonly number[],
  fraction: number,
  by: string | undefined,
  seed: number,
): Selection['parts'] {
  if (!(fraction > 0 && fraction < 1))
    throw new TweedieError('option', `The fraction to hold out lies between 0 and 1, found ${fraction}.`)
  const column = by === undefined ? undefined : set.columns.get(by)
  if (by !== undefined && !column) {
    throw new TweedieError(
      'option',
      `${set.name}: there is no column "${by}" with one number an image; there ` +
        `${set.columns.size === 1 ? 'is' : 'are'} ${[...set.columns.keys()].join(', ') || 'none'}.`,
    )
  }
  const none = column ? kept.find((index) => !Number.isFinite(column[index])) : undefined
  if (column && none !== undefined)
    throw new TweedieError(
      'option',
      `${set.name}: column "${by}" is ${column[none]} for image ${set.imageName(none)}, and ` +
        'groups are of equal numbers.',
    )
  const groupOf = (index: number): number => (column ? column[index] : index)
  const groups = [...new Set(kept.map(groupOf))].sort((a, b) => a - b)
  if (groups.length < 2)
    throw new TweedieError(
      'option',
      `${set.name}: expected two ${by === undefined ? 'images' : `groups by ${by}`} or more to hold one ` +
        `out, found ${groups.length}.`,
    )
  const many = Math.min(groups.length - 1, Math.max(1, Math.round(fraction * groups.length)))
  const out = new Set(Array.from(permutation(groups.length, seed, 'select', 1).subarray(0, many), (g) => groups[g]))
  return {
    train: kept.filter((index) => !out.has(groupOf(index))),
    'held-out': kept.filter((index) => out.has(groupOf(index))),
  }
}

/** Images of each class, among `indices` or all. Empty for a set without classes. */
export function classCounts(
  { labels, classes = [] }: ImageSet,
  indices: Iterable<number> = labels?.keys() ?? [],
): number[] {
  const counts = classes.map(() => 0)
  if (labels) for (const index of indices) counts[labels[index]]++
  return counts
}

/**
 * One part of a selection file as a set; its {@link ImageSet.origin} has the indices in `set`.
 *
 * @param text the file's contents
 * @param part default 'train'
 * @param name of the file, for messages
 * @throws TweedieError 'format' for what is no selection; 'option' for one of other data, and for a part it has not
 */
export function applySelection(set: ImageSet, text: string, part = 'train', name = 'the selection'): ImageSet {
  const { data, fingerprint, parts } = parseSelection(text, name)
  if (![set.fingerprint, set.formerFingerprint].includes(fingerprint)) {
    throw new TweedieError(
      'option',
      `${name} was made for other data (${data}, ${fingerprint.slice(0, 12)}) than ${set.name} ` +
        `(${set.fingerprint.slice(0, 12)}). Name that data, or run tweedie select again.`,
    )
  }
  if (!Object.hasOwn(parts, part))
    throw new TweedieError('option', `${name} has no part "${part}", only ${Object.keys(parts).join(', ')}.`)
  return subset(set, parts[part])
}

/**
 * The text of a selection file, which {@link parseSelection} and {@link applySelection} read. `name` is
 * what messages call it.
 */
export const encodeSelection = (selection: Selection, name = 'the selection'): string =>
  `${jsonText(selection, name)}\n`

const images: Check = (value, path) =>
  listOf(aCount)(value, path) ??
  ((value as number[]).length === 0 ? `${path}: expected one image or more, found none` : undefined)

const isSelection = fieldsOf({
  program: oneOf('tweedie'),
  kind: oneOf('selection'),
  data: aText,
  fingerprint: aText,
  how: fieldsOf({
    longTail: optional(aNumber),
    holdOut: optional(aNumber),
    by: optional(aText),
    slices: optional(listOf(aCount)),
    seed: optional(aCount),
  }),
  parts: valuesOf(images),
  leftOut: optional(listOf(aText)),
})

/**
 * Reads a selection file, called `name` in messages.
 *
 * @throws TweedieError 'format' for text that is no selection
 */
export function parseSelection(text: string, name = 'the selection'): Selection {
  return parseJson<Selection>(text, name, 'a selection as tweedie select writes it', isSelection)
}
