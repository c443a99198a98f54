/**
 * CIFAR-10's and CIFAR-100's batches as they are published. Binary ones are rows of a label (CIFAR-100: a coarse and a
 * fine one) and planes of 32 x 32 red, green and blue bytes. Those for Python are pickles of a dictionary with the same
 * rows as an array of NumPy; they are read by `io/pickle.ts`, which runs no code of theirs.
 * Format: https://www.cs.toronto.edu/~kriz/cifar.html
 */
import { TweedieError } from '../errors.ts'
import { Built, unpickle } from '../io/pickle.ts'
import { pixelsOf } from './arrays.ts'
import { imageArrays, type ImageSet } from './image-set.ts'

const area = 32 * 32

interface Kind {
  /** Files of it, by name; of a folder those that are trained on. */
  readonly files: RegExp
  readonly training: RegExp
  readonly classes: number
  /** The file beside them with the names of the classes, and of a pickle the keys of names and of labels. */
  readonly names: string
  readonly keys?: readonly [names: string, labels: string]
}

const kinds: readonly Kind[] = [
  {
    files: /^(data_batch_\d|test_batch)\.bin$/,
    training: /^data_batch_\d\.bin$/,
    classes: 10,
    names: 'batches.meta.txt',
  },
  { files: /^(train|test)\.bin$/, training: /^train\.bin$/, classes: 100, names: 'fine_label_names.txt' },
  {
    files: /^(data_batch_\d|test_batch)$/,
    training: /^data_batch_\d$/,
    classes: 10,
    names: 'batches.meta',
    keys: ['label_names', 'labels'],
  },
  {
    files: /^(train|test)$/,
    training: /^train$/,
    classes: 100,
    names: 'meta',
    keys: ['fine_label_names', 'fine_labels'],
  },
]

/** The training batches of a folder with these files, in order, where it is one of CIFAR's; none otherwise. */
export function cifarBatches(names: readonly string[]): string[] {
  const kind = kinds.find(
    ({ training, names: beside }) => names.includes(beside) && names.some((n) => training.test(n)),
  )
  return kind ? names.filter((name) => kind.training.test(name)).sort() : []
}

/** The file in the same folder that has the names of the classes, if `name` is called like a batch; else undefined. */
export const cifarNames = (name: string): string | undefined => kinds.find(({ files }) => files.test(name))?.names

interface Rows {
  readonly labels: ArrayLike<number>
  readonly planes: Uint8Array
}

/**
 * Batches, one behind the other, as a set of images with their classes.
 *
 * @param name of the set
 * @param batch the name of a file, which says the kind
 * @param names the file that names the classes, if it is there
 * @throws TweedieError 'format', naming the set, for files that are no such batches
 */
export function cifarSet(
  name: string,
  batch: string,
  files: readonly Uint8Array[],
  names: Uint8Array | null,
  fingerprint: string,
): ImageSet {
  const kind = kinds.find(({ files }) => files.test(batch))
  if (!kind) throw new TweedieError('format', `${name}: no batch of CIFAR.`)
  const read = kind.keys ? pickledRows : binaryRows
  const rows = files.map((file) => read(file, kind, name))
  const planes = new Uint8Array(rows.reduce((sum, one) => sum + one.planes.length, 0))
  let at = 0
  for (const one of rows) {
    planes.set(one.planes, at)
    at += one.planes.length
  }
  const labels = rows.flatMap((one) => Array.from(one.labels))
  if (labels.some((label) => label >= kind.classes))
    throw new TweedieError('format', `${name}: expected labels below ${kind.classes}. It is damaged: get it again.`)
  const classes = names && namesIn(names, kind, name)
  return imageArrays({
    name,
    data: pixelsOf(planes, area),
    width: 32,
    height: 32,
    channels: 3,
    labels,
    fingerprint,
    ...(classes?.length === kind.classes && { classes }),
  })
}

function binaryRows(file: Uint8Array, { classes }: Kind, name: string): Rows {
  const before = classes === 10 ? 1 : 2
  const row = before + 3 * area
  if (file.length === 0 || file.length % row !== 0)
    throw new TweedieError(
      'format',
      `${name}: expected CIFAR-${classes}'s binary batches, rows of ${row} bytes, found ${file.length} bytes. Get ` +
        'them again.',
    )
  const count = file.length / row
  const planes = new Uint8Array(count * 3 * area)
  for (let i = 0; i < count; i++) planes.set(file.subarray(i * row + before, (i + 1) * row), i * 3 * area)
  return { labels: Uint8Array.from({ length: count }, (_, i) => file[i * row + before - 1]), planes }
}

/** What NumPy's arrays of bytes are rebuilt with; their contents come as a state. */
const numpy = new Map<string, unknown>(
  ['numpy.core.multiarray', 'numpy._core.multiarray'].map((module): [string, unknown] => [
    `${module}._reconstruct`,
    () => new Built(),
  ]),
)
  .set('numpy.ndarray', 'ndarray')
  .set('numpy.dtype', (kind: unknown) => new Built(kind))

function dictionary(file: Uint8Array, name: string): Map<unknown, unknown> {
  const { value } = unpickle(file, 0, name, numpy, () => null)
  if (!(value instanceof Map))
    throw new TweedieError('format', `${name}: expected a dictionary, as CIFAR's batches are.`)
  return value
}

function pickledRows(file: Uint8Array, { keys, classes }: Kind, name: string): Rows {
  const batch = dictionary(file, name)
  const [labels, data] = [batch.get(keys![1]), batch.get('data')]
  const state = data instanceof Built && Array.isArray(data.state) ? (data.state as unknown[]) : []
  const [, shape, kind, fortran, contents] = state
  const planes = typeof contents === 'string' ? new TextEncoder().encode(contents) : contents
  const fits =
    Array.isArray(labels) &&
    labels.every((label) => Number.isInteger(label) && label >= 0) &&
    kind instanceof Built &&
    kind.made === 'u1' &&
    fortran === false &&
    String(shape) === `${labels.length},${3 * area}` &&
    planes instanceof Uint8Array &&
    planes.length === labels.length * 3 * area
  if (!fits)
    throw new TweedieError('format', `${name}: expected CIFAR-${classes}'s batches for Python, found something else.`)
  return { labels: labels as number[], planes }
}

function namesIn(file: Uint8Array, { keys }: Kind, name: string): string[] {
  if (!keys)
    return new TextDecoder()
      .decode(file)
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
  const names = dictionary(file, name).get(keys[0])
  return Array.isArray(names) ? names.map(String) : []
}
