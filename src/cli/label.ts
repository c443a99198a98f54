/** `tweedie label`: minority scores cut at quantiles into the classes of a minority classifier. */
import { readFile } from 'node:fs/promises'
import { checkFingerprint, parseMinorityScores, quantileLabels, scoreSettingsOf, type MinorityLabels, type MinorityScores } from '../diffusion/index.ts'
import { writeFileAtomic } from '../io/index.node.ts'
import { fail, parseArguments, type Command } from './arguments.ts'
import { classOptions, openClasses } from './data.ts'
import { claimOutputs, inputsOf, keepsOthers } from './outputs.ts'

const options = {
  scores: { value: 'FILE', help: 'scores of a data set, as tweedie score writes them (.json)' },
  levels: { value: 'L', help: 'how many classes of equal size; the rarest is L - 1. Let each have a few hundred images' },
  within: { value: 'all|class', help: 'cut the whole set, or each class of the data set for itself', default: 'all' },
  data: { value: 'DATA', help: 'the data set: makes sure that the scores are its own, and gives classes to scores that have none' },
  ...classOptions,
  out: { value: 'FILE', help: 'the labels', default: 'labels.json' },
} as const

export const label: Command = {
  name: 'label',
  usage: '--scores scores.json --levels L [options]',
  summary: 'cut minority scores at quantiles into labels for a minority classifier',
  options,
  positionals: [0, 0],
  notes: ['Quantiles make levels of equal size, so that the rarest is as well learned as the most common (Um et al., ICLR 2024). The paper has 100 levels of CelebA, CIFAR-10 and LSUN, 50 of a few thousand MRI slices, and 25 within each class of ImageNet.'],
  examples: ['label --scores scores.json --levels 20 --out labels.json', 'label --scores scores.json --levels 4 --within class --data cells.npz'],
  async run(argv, { signal }) {
    const args = parseArguments<keyof typeof options>(label, argv)
    const path = args.required('scores', ': a file that tweedie score wrote, as in --scores scores.json')
    const levels = args.integer('levels', { min: 2 }) ?? fail('--levels is required: how many classes, as in --levels 20.')
    const within = args.choice('within', ['all', 'class']) ?? 'all'
    const out = args.text('out') ?? 'labels.json'
    await using _ = await claimOutputs({
      command: 'label', inputs: inputsOf(options, args, ['out']), files: [{ option: '--out', path: out, keeps: keepsOthers('minority-labels') }],
    })
    const text = await readFile(path, 'utf8').catch((error: Error) => fail(`cannot read ${path}: ${error.message}`))
    const file = parseMinorityScores(text, path)
    const set = args.has('data') ? await openClasses(args.required('data'), args, signal) : null
    if (set) checkFingerprint(file, path, set)
    const { data, fingerprint, indices, scores } = file
    const known = set?.labels
    const classes = file.classes ?? (known && indices.map((k) => known[k]))
    const names = file.classNames ?? set?.classes
    const head = { program: 'tweedie', kind: 'minority-labels', data, fingerprint, levels, within } as const
    const rest = { indices, scores: scoreSettingsOf(file) }
    let result: MinorityLabels
    if (within === 'all') {
      const { labels, thresholds } = quantileLabels(scores, levels)
      result = { ...head, thresholds, labels: [...labels], ...rest }
    } else {
      if (!classes) return fail(`--within class needs the class of each image, and ${set ? `${set.name} has none` : `${path} holds none: name the data set with --data`}.`)
      const { labels, thresholds } = quantileLabels(scores, levels, classes, names)
      result = { ...head, thresholds, labels: [...labels], ...rest }
    }
    await writeFileAtomic(out, [new TextEncoder().encode(`${JSON.stringify(result)}\n`)], { signal })
    for (const line of levelTable(result, file)) console.log(line)
    console.log(`${out}: ${indices.length} labels in ${levels} levels${within === 'class' ? ', cut within each class' : ''}`)
  },
}

/** A line a level: how many images it has and between which scores. */
function levelTable({ levels, labels }: MinorityLabels, { scores }: MinorityScores): string[] {
  return Array.from({ length: levels }, (_, level) => {
    const members = scores.filter((_, i) => labels[i] === level).sort((a, b) => a - b)
    return `level ${String(level).padStart(String(levels - 1).length)}: ${members.length} images, scores ${(members[0] as number).toPrecision(4)} to ${(members.at(-1) as number).toPrecision(4)}`
  })
}
