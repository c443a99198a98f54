/** `tweedie label`: minority scores cut at quantiles into the classes of a minority classifier. */
import { readFile } from 'node:fs/promises'
import {
  checkFingerprint,
  encodeMinorityLabels,
  minorityLabels,
  parseMinorityScores,
  type MinorityLabels,
  type MinorityScores,
} from '../../diffusion/index.ts'
import { writeText } from '../../io/file.node.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { counted } from '../counted.ts'
import { classOptions, openClasses } from '../options/data.ts'
import { choice, file, images, integers, output } from '../option.ts'
import { claimOutputs, inputsOf, keepsOthers } from '../outputs.ts'
import { print } from '../print.ts'

const options = {
  scores: file({ value: 'FILE', help: 'scores of a data set, as tweedie score writes them (.json)' }),
  levels: integers({
    value: 'L|4,2,3',
    help:
      'how many classes; the rarest is L - 1. Let each have a few hundred images. With --within class also a ' +
      'number for each class, in their order',
  }),
  by: choice(['quantiles', 'equal-width'], {
    help: 'levels of equal size, or, as the paper tried and rejected, of scores at equal distances',
    default: 'quantiles',
  }),
  within: choice(['all', 'class'], {
    help: 'cut the whole set, or each class of the data set for itself',
    default: 'all',
  }),
  data: images({
    value: 'DATA',
    help: 'the data set: makes sure that the scores are its own, and gives classes to scores that have none',
  }),
  ...classOptions,
  out: output({ value: 'FILE', help: 'the labels', default: 'labels.json' }),
}

export const label: Command<typeof options> = {
  name: 'label',
  usage: '--scores scores.json --levels L [options]',
  summary: 'cut minority scores into levels, the labels of a minority classifier',
  options,
  positionals: [0, 0],
  notes: [
    'Quantiles make levels of equal size, so that the rarest is as well learned as the most common (Um et al., ' +
      'ICLR 2024, section 3.2; within classes, Appendix B.3). The paper has 100 levels of CelebA, CIFAR-10 and ' +
      'LSUN, 50 of a few thousand MRI slices, and 25 within each class of ImageNet.',
    '--out may be a file of labels that is there already, which is replaced; no other file is.',
  ],
  examples: [
    'label --scores scores.json --levels 20 --out labels.json',
    'label --scores scores.json --levels 4 --within class --data cells.npz',
    'label --scores scores.json --levels 20,4,4 --within class --data cells.npz',
  ],
  async run(argv, { signal }) {
    const args = parseArguments(label, argv)
    const path = args.required('scores', ': a file that tweedie score wrote, as in --scores scores.json')
    const each = args.required('levels', ': how many classes, as in --levels 20')
    const few = each.find((count) => count < 2)
    if (few !== undefined) fail(`--levels: expected a whole number of 2 or more, found "${few}".`)
    const within = args.get('within')
    if (each.length > 1 && within === 'all') fail('--levels: a number for each class needs --within class.')
    const by = args.get('by')
    const out = args.get('out')
    await using _ = await claimOutputs({
      command: 'label',
      inputs: inputsOf(args),
      files: [{ option: '--out', path: out, keeps: keepsOthers('minority-labels') }],
    })
    const text = await readFile(path, 'utf8').catch((error: Error) => fail(`cannot read ${path}: ${error.message}`))
    const file = parseMinorityScores(text, path)
    const set = args.has('data') ? await openClasses(args.required('data'), args, signal) : null
    if (set) checkFingerprint(file, path, set)
    const { indices } = file
    const known = set?.labels
    const classes = file.classes ?? (known && indices.map((k) => known[k]))
    const classNames = file.classNames ?? set?.classes
    if (within === 'class' && !classes)
      return fail(
        '--within class needs the class of each image, and ' +
          `${set ? `${set.name} has none` : `${path} holds none: name the data set with --data`}.`,
      )
    const result = minorityLabels(file, {
      levels: each.length > 1 ? each : each[0],
      by,
      within,
      ...(classes && { classes }),
      ...(classNames && { classNames }),
    })
    await writeText(out, encodeMinorityLabels(result, out), signal)
    for (const line of levelTable(result, file)) print(line)
    print(
      `${out}: ${counted(indices.length, 'label')} in ${each.join(', ')} ` +
        `levels${by === 'quantiles' ? '' : ' of equal width'}${within === 'class' ? ', cut within each class' : ''}`,
    )
  },
}

/** A line a level: how many images it has and between which scores. */
function levelTable({ levels, labels }: MinorityLabels, { scores }: MinorityScores): string[] {
  return Array.from({ length: levels }, (_, level) => {
    const members = scores.filter((_, i) => labels[i] === level).sort((a, b) => a - b)
    const [least, largest] = [members[0], members.at(-1)!]
    return (
      `level ${String(level).padStart(String(levels - 1).length)}: ${counted(members.length, 'image')}` +
      `${least === undefined ? '' : `, scores ${least.toPrecision(4)} to ${largest.toPrecision(4)}`}`
    )
  })
}
