/** `tweedie evaluate`: how real and how rare samples are, beside real images, in every feature space asked for. */
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { checkFingerprint, parseMinorityScores } from '../../diffusion/index.ts'
import {
  encodeStatistics,
  spaceNames,
  type EvaluatedSpace,
  type Evaluation,
  type RarityName,
} from '../../metrics/index.ts'
import { exists, writeText } from '../../io/file.node.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { jsonText } from '../../io/json.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { evaluateSets, type Evaluated } from '../evaluating/run.ts'
import { openSets, type EvaluationSets, type NamedSet } from '../evaluating/sets.ts'
import { spaceWord } from '../evaluating/spaces.ts'
import { evaluationText, imageCsv } from '../evaluating/tables.ts'
import { choice, file, flag, images, integer, optionOf, output, several, type Kind } from '../option.ts'
import { skipBadOption } from '../options/data.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { noteText, notesOf, rarityKey } from '../pages/evaluation-notes.ts'
import { evaluationPage } from '../pages/evaluation-page.ts'
import { claimOutputs, inputsOf, jsonOf } from '../outputs.ts'
import { print, tell } from '../print.ts'

/** A part, 0.2, or so many, 1000. */
const partOrCount: Kind<number> = {
  read(word, name) {
    const value = Number(word)
    const part = value > 0 && value < 1
    return part || (Number.isSafeInteger(value) && value > 1)
      ? value
      : fail(`--${name}: expected a part below 1, as in 0.2, or how many, as in 1000, found "${word}".`)
  },
  write: (value) => value,
}

const rarityNames = ['avgknn', 'lof', 'rarity', 'score'] as const satisfies readonly RarityName[]

const options = {
  samples: several(
    images({
      value: 'DIR',
      help: 'samples of a method: a folder or an .npz; more than once to put methods side by side',
    }),
  ),
  real: images({
    value: 'DATA',
    help: 'real images: a folder, an .npz or an IDX file; or the statistics (mu, sigma) of some, as .npz',
  }),
  'held-out': images({ value: 'DATA', help: 'real images that the model was not trained on, for C_T' }),
  select: file({ value: 'FILE', help: 'the selection whose part train is real and whose part held-out is held out' }),
  features: several(
    optionOf(spaceWord, {
      value: 'SPACE[=FILE]',
      help:
        'feature space to measure in, with the file of its weights; more than once for several: ' +
        spaceNames.join(', '),
      default: 'pixels',
    }),
  ),
  rarest: optionOf(partOrCount, {
    value: '0.2|1000',
    help: 'measure distances, precision and recall to the rarest real images: a part of them, or so many',
  }),
  by: choice(rarityNames, { help: 'by what they are the rarest, in the first space named', default: 'avgknn' }),
  scores: file({
    value: 'FILE',
    help: 'minority scores of the real images, as tweedie score writes them, for --by score',
  }),
  classifier: file({
    value: 'FILE',
    help: 'a classifier: the part of samples with labels that it takes for their class',
  }),
  k: integer({ value: 'K', min: 1, help: 'neighbours of AvgkNN, and of the balls', default: '5' }),
  'lof-k': integer({ value: 'K', min: 1, help: 'neighbours of LOF', default: '20' }),
  resamples: integer({ value: 'N', help: 'resamples of the intervals; 0: no intervals', default: '1000' }),
  seed: integer({ value: 'N', help: 'of the intervals, of the subsets of KID and of the cells of C_T', default: '0' }),
  'save-statistics': flag({ help: 'also write mu and sigma of every set and space but pixels as .npz' }),
  'skip-bad': skipBadOption,
  out: output({ value: 'DIR', help: 'folder for the results', default: 'out/evaluation' }),
  ...deviceOptions,
}

/** Of the intervals. */
const confidence = 0.95

export const evaluate: Command<typeof options> = {
  name: 'evaluate',
  usage: '--samples DIR [--samples DIR...] --real DATA [options]',
  summary: 'measure how real and how rare samples are beside real images',
  options,
  positionals: [0, 0],
  notes: [
    'Fréchet distance (Heusel et al., NeurIPS 2017), also extrapolated to infinitely many samples, KID, precision ' +
      'and recall (Kynkäänniemi et al., NeurIPS 2019), density and coverage (Naeem et al., ICML 2020), AvgkNN, LOF ' +
      'and Rarity Score (Han et al., ICLR 2023) in every space, with 95 % intervals. Rarity and nearest neighbours ' +
      'are by all real images, the others by the rarest where --rarest says so (Um et al., ICLR 2024, section 5).',
    'Features are kept in the cache folder and computed once for the same images, space, preprocessing and weights.',
    'The folder gets index.html, evaluation.json, images.csv (a row an image) and with --save-statistics files that ' +
      "pytorch-fid and clean-fid read, and as --real evaluate does. Of guided-diffusion's reference batches, which " +
      'hold images too, inception-legacy-tensorflow takes mu and sigma for its Fréchet distances. Results of other ' +
      'images or settings are not replaced.',
  ],
  examples: [
    'evaluate --samples out/sample --real cells.npz --features features --out out/evaluation',
    'evaluate --samples out/plain --samples out/minority --real cells.npz --rarest 0.2 --by lof',
  ],
  async run(argv, session) {
    const args = parseArguments(evaluate, argv)
    const computing = onDevice(session, args)
    const { signal } = computing
    const out = args.get('out')
    const words = args.get('features')
    const samples = args.required('samples', ': a folder of images or an .npz')
    const real = args.required('real', ': a folder of images, an .npz or an IDX file')
    const settings = {
      k: args.get('k'),
      lofK: args.get('lof-k'),
      resamples: args.get('resamples'),
      confidence,
      seed: args.get('seed'),
    }
    if (settings.resamples === 1) fail('--resamples: expected 2 or more, or 0 for no intervals, found 1.')
    const twice = words.find(({ name }, i) => words.findIndex((word) => word.name === name) !== i)
    if (twice) fail(`--features ${twice.name} is given twice.`)
    const rarest = args.get('rarest')
    const by = args.get('by')
    if (rarest === undefined && (args.has('by') || args.has('scores')))
      fail('--by and --scores choose among real images: --rarest says how many.')
    if (by === 'score' && !args.has('scores'))
      fail('--by score needs --scores FILE, the minority scores of the real images (tweedie score).')
    if (by !== 'score' && args.has('scores')) fail('--scores is for --by score.')

    const weights = words.flatMap(({ path }) => (path === null ? [] : [{ option: '--features', path }]))
    await using _ = await claimOutputs({
      command: 'evaluate',
      inputs: [...inputsOf(args), ...weights],
      folders: [{ option: '--out', path: out, names: outputNames, record: recordFile }],
    })
    const sets = await openSets(
      {
        samples,
        real,
        heldOut: args.get('held-out'),
        select: args.get('select'),
        skipBad: args.get('skip-bad') ?? false,
      },
      signal,
    )
    if (!('set' in sets.real) && rarest !== undefined)
      fail('--rarest chooses among real images, and --real holds statistics.')
    if ('file' in sets.real && words.some(({ name }) => name === 'pixels')) {
      const taken = sets.real.file.space?.name ?? 'SPACE'
      fail(
        `--features pixels is fitted to real images, and --real ${real} holds statistics: name their space, ` +
          `--features ${taken}${args.has('features') ? ' alone' : ''}.`,
      )
    }
    const scores = by === 'score' && 'set' in sets.real ? await scoresOf(args.get('scores')!, sets.real) : undefined
    const classifier = args.get('classifier')
    const job = {
      sets,
      words,
      classifier,
      settings,
      choice: rarest === undefined ? null : { rarest, by, scores },
      statistics: args.get('save-statistics') ?? false,
    }
    await refuseOther(out, job)
    const found = await evaluateSets(job, computing)
    await write(out, found, sets, signal)
    print(evaluationText(found.evaluation))
    const key = rarityKey(found.evaluation.measurements)
    if (key.length > 0) print(`\n${key.join(' ')}`)
    for (const note of notesOf(found.evaluation)) {
      tell(`note${note.space === null ? '' : ` on ${note.space}`}: ${noteText(note)}`)
    }
    print(`\n${join(out, 'index.html')}`)
  },
}

const recordFile = 'evaluation.json'
const outputNames = /^(index\.html|evaluation\.json|images\.csv|statistics-.*\.npz)$/

/** Results of other images, spaces or settings stay. */
async function refuseOther(
  out: string,
  { sets, words, settings, classifier, choice: chosen }: Parameters<typeof evaluateSets>[0],
): Promise<void> {
  const path = join(out, recordFile)
  if (!(await exists(path))) return
  const old = (await jsonOf(path)) as unknown as Evaluation | null
  const named = [sets.real, sets.heldOut, ...sets.methods].map((set) => set && [set.name, set.fingerprint])
  const now = [
    named,
    words.map(({ name }) => name),
    settings,
    chosen?.by ?? null,
    classifier ? basename(classifier) : null,
  ]
  const before = old?.kind === 'evaluation' && [
    [old.real, old.heldOut, ...old.methods].map((set) => set && [set.name, set.fingerprint]),
    old.spaces.map(({ name }: EvaluatedSpace) => name),
    old.settings,
    old.reference.by,
    old.classifier?.name ?? null,
  ]
  if (JSON.stringify(now) !== JSON.stringify(before)) {
    fail(`${out} holds the results of other images, spaces or settings: choose another --out, or delete it.`)
  }
}

const textOf = (path: string): Promise<string> =>
  readFile(path, 'utf8').catch((error: Error) => fail(`cannot read ${path}: ${error.message}`))

/** The minority score of each real image. */
async function scoresOf(path: string, { set }: NamedSet): Promise<Float64Array> {
  const file = parseMinorityScores(await textOf(path), path)
  const { set: whole, indices } = set.origin ?? { set, indices: Array.from({ length: set.length }, (_, i) => i) }
  checkFingerprint(file, path, whole)
  const known = new Map(file.indices.map((index, i) => [index, file.scores[i]]))
  return Float64Array.from(
    indices,
    (index) =>
      known.get(index) ?? fail(`${path} has no score of image ${whole.imageName(index)}: score all real images.`),
  )
}

async function write(
  out: string,
  { evaluation, tables, realName, statistics }: Evaluated,
  { methods, real }: EvaluationSets,
  signal: AbortSignal,
): Promise<void> {
  const spaces = evaluation.spaces.map(({ name }) => name)
  for (const { name, file } of statistics) {
    await writeFileAtomic(join(out, `statistics-${name}.npz`), [encodeStatistics(file)], { signal })
  }
  await writeText(join(out, 'images.csv'), imageCsv(tables, spaces, realName), signal)
  const path = join(out, recordFile)
  await writeText(path, `${jsonText(evaluation, path, 2)}\n`, signal)
  const pictures = { methods: methods.map(({ set }) => set), real: 'set' in real ? real.set : null }
  await writeText(join(out, 'index.html'), await evaluationPage(evaluation, pictures, signal), signal)
}
