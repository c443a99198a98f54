/** `tweedie select`: which images are trained on and which are held out, as a file. */
import { classCounts, encodeSelection, selectImages, type ImageSet, type Selection } from '../../data/index.node.ts'
import { writeText } from '../../io/file.node.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { classOptions, openClasses } from '../options/data.ts'
import { integer, number, optionOf, output, text, type Kind } from '../option.ts'
import { claimOutputs, keepsOthers } from '../outputs.ts'
import { print } from '../print.ts'

/** `60-79,90`. */
const positions: Kind<readonly number[]> = {
  read: (word, name) =>
    word.split(',').flatMap((part) => {
      const [, first, last = first] =
        /^\s*(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(part) ??
        fail(`--${name}: expected positions and ranges with commas between, as in 60-79,90, found "${word}".`)
      return Array.from({ length: Math.max(0, Number(last) - Number(first) + 1) }, (_, i) => Number(first) + i)
    }),
  write: (value) => value.join(','),
}

const options = {
  'long-tail': number({
    value: 'IF',
    min: 1,
    help: 'keep class c of C at max * IF^(-c/(C-1)) images, max being the largest class',
  }),
  slices: optionOf(positions, {
    value: 'N-M,…',
    help: 'of volumes: the slices at these positions, numbered from 0',
  }),
  'hold-out': number({ value: 'F', help: 'hold out this fraction of the images, or of the groups of --by' }),
  by: text({
    value: 'COLUMN',
    help: 'images with the same number in this array of an .npz make a group, which is never split',
  }),
  seed: integer({ value: 'N', help: 'of the random choice', default: '0' }),
  out: output({ value: 'FILE', help: 'the selection', default: 'selection.json' }),
  ...classOptions,
}

export const select: Command<typeof options> = {
  name: 'select',
  usage: 'DATA [options]',
  summary: 'make a data set long-tailed, or hold a part of it out of training',
  options,
  positionals: [1, 1],
  notes: [
    "DATA is a folder of PNG and JPEG files or of NIfTI volumes, an .npz or .npy, an IDX file or CIFAR's binary " +
      'batches. Of volumes every slice across the third axis is an image, from its least value (black) to its ' +
      'largest (white); columns of theirs are volume and slice. The long tail comes first and the part is ' +
      'held out of what is left. Commands with --data take the file as --select FILE [--part train|held-out] and ' +
      'refuse it for other data.',
    '--out may be a selection that is there already, which is replaced; no other file is.',
  ],
  examples: [
    'select bccd_cells_32.npz --hold-out 0.2 --by source_image --out split.json',
    'select brains/ --slices 60-79 --hold-out 0.1 --by volume',
    'select train-images-idx3-ubyte.gz --long-tail 100 --out long-tail.json',
  ],
  async run(argv, { signal }) {
    const args = parseArguments(select, argv)
    const longTail = args.get('long-tail')
    const holdOut = args.get('hold-out')
    const seed = args.get('seed')
    const by = args.get('by')
    const slices = args.get('slices')
    if (longTail === undefined && holdOut === undefined && slices === undefined)
      fail('Nothing to select: give --long-tail IF, --hold-out F, both, or --slices.')
    const out = args.get('out')
    await using _ = await claimOutputs({
      command: 'select',
      inputs: [{ option: 'DATA', path: args.positionals[0] }],
      files: [{ option: '--out', path: out, keeps: keepsOthers('selection') }],
    })
    const set = await openClasses(args.positionals[0], args, signal)
    const selection = selectImages(set, {
      seed,
      ...(longTail !== undefined && { longTail }),
      ...(slices !== undefined && { slices }),
      ...(holdOut !== undefined && { holdOut }),
      ...(by !== undefined && { by }),
    })
    await writeText(out, encodeSelection(selection, out), signal)
    print(table(set, selection))
    print(out)
  },
}

/** How many images of each class there are, and in each part. */
function table(set: ImageSet, { parts }: Selection): string {
  const classes = set.classes ?? []
  const columns = [
    ['class', ...classes, 'all'],
    ['data', ...classCounts(set), set.length],
    ...Object.entries(parts).map(([part, indices]) => [part, ...classCounts(set, indices), indices.length]),
  ].map((column) => column.map(String))
  const widths = columns.map((column) => Math.max(...column.map((cell) => cell.length)))
  return columns[0]
    .map((_, row) =>
      columns
        .map((column, c) => (c === 0 ? column[row].padEnd(widths[c]) : column[row].padStart(widths[c])))
        .join('  '),
    )
    .join('\n')
}
