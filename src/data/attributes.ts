/**
 * Binary attributes of images, several of which an image can have (Bald, Eyeglasses): read from a table beside the
 * images, CelebA's `list_attr_celeba.txt` or a CSV, and matched to them by file name.
 */
import { TweedieError } from '../errors.ts'
import type { ImageSet } from './image-set.ts'

/** A table of binary attributes, as {@link parseAttributes} reads it: a row an image, a column an attribute. */
export interface AttributeTable {
  /** What messages call it: its path. */
  readonly name: string
  /** Their names, in the order of the columns. */
  readonly attributes: readonly string[]
  /** By the name of an image, a 1 or 0 for each attribute. */
  readonly rows: ReadonlyMap<string, Uint8Array>
}

/**
 * Reads a table: a line of attribute names, then a line an image, its name first and then 1, or 0 or -1, for each
 * attribute. Columns are separated by commas if the line of names has one, else by blanks; a name for the column
 * of images may stand before those of the attributes (CSV) or not (CelebA), and the number of images on a line
 * ahead of all (CelebA).
 *
 * @throws TweedieError 'format' naming the line that is none of this
 */
export function parseAttributes(text: string, name: string): AttributeTable {
  const lines = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line, i) => ({ line: line.trim(), number: i + 1 }))
    .filter(({ line }) => line !== '')
  const wrong = (message: string): never => {
    throw new TweedieError(
      'format',
      `${name}: ${message}. Expected a line of attribute names, then lines of an image's name and 1, 0 or -1 for ` +
        "each: CelebA's list_attr_celeba.txt, or a CSV.",
    )
  }
  const stated = /^\d+$/.test(lines[0]?.line ?? '') ? Number(lines.shift()?.line) : undefined
  const header = lines.shift()?.line ?? wrong('is empty')
  const separator = header.includes(',') ? /\s*,\s*/ : /\s+/
  const names = header.split(separator)
  const table = lines.map(({ line, number }) => ({ cells: line.split(separator), number }))
  // The column of images has a name of its own where each row has as many cells as the header.
  const named = table[0]?.cells.length === names.length
  const attributes = named ? names.slice(1) : names
  const rows = new Map<string, Uint8Array>()
  for (const {
    cells: [image, ...values],
    number,
  } of table) {
    if (values.length !== attributes.length)
      wrong(`line ${number} has ${values.length} values for ${attributes.length} attributes`)
    const bad = values.find((value) => !/^[+-]?(0|1)(\.0+)?$/.test(value))
    if (bad !== undefined) wrong(`line ${number} says "${bad}"`)
    if (rows.has(image)) wrong(`line ${number} is the second of ${image}`)
    rows.set(
      image,
      Uint8Array.from(values, (value) => (Number(value) === 1 ? 1 : 0)),
    )
  }
  if (rows.size === 0) wrong('has no image')
  if (stated !== undefined && stated !== rows.size)
    wrong(`says that it has ${stated} images, and has ${rows.size}: is it cut short?`)
  return { name, attributes, rows }
}

/** Some attributes of some images of a set, as {@link attributesOf} matches them. */
export interface ImageAttributes {
  /** The images the table has, by number in the set, ascending. */
  readonly indices: readonly number[]
  /** `[indices, attributes]`: 1 where the image has the attribute, else 0. */
  readonly values: Uint8Array
}

/**
 * The attributes `wanted` of the images of a set, by the path that {@link ImageSet.imageName} gives, else by the file's
 * name, else by that without its ending (CelebA's table says .jpg, and its lossless images are .png).
 *
 * @throws TweedieError 'option' for an attribute that the table does not have, for no image in it, and for two of one
 *   row
 */
export function attributesOf(
  { name, attributes, rows }: AttributeTable,
  set: ImageSet,
  wanted: readonly string[],
): ImageAttributes {
  const wrong = (message: string): never => {
    throw new TweedieError('option', message)
  }
  const columns = wanted.map((attribute) => {
    const column = attributes.indexOf(attribute)
    return column >= 0 ? column : wrong(`${name} has no attribute ${attribute}. It has ${attributes.join(', ')}.`)
  })
  const stem = (path: string): string => path.replace(/\.[^./]*$/, '')
  const byStem = new Map([...rows.keys()].map((image) => [stem(image), image]))
  const taken = new Map<string, string>()
  const indices: number[] = []
  const values: number[] = []
  for (let index = 0; index < set.length; index++) {
    const path = set.imageName(index)
    const file = path.slice(path.lastIndexOf('/') + 1)
    const image =
      [path, file].find((candidate) => rows.has(candidate)) ?? byStem.get(stem(path)) ?? byStem.get(stem(file))
    if (image === undefined) continue
    const other = taken.get(image)
    if (other !== undefined)
      wrong(`${name}: ${image} may be ${other} or ${path} of ${set.name}: name images in the table by their paths.`)
    taken.set(image, path)
    indices.push(index)
    const row = rows.get(image) as Uint8Array
    values.push(...columns.map((column) => row[column]))
  }
  if (indices.length === 0) {
    wrong(
      `${name} has no line for any image of ${set.name}: it has ${rows.keys().next().value}, and the images are ` +
        `called ${set.imageName(0)} and so on.`,
    )
  }
  return { indices, values: Uint8Array.from(values) }
}
