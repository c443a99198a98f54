/**
 * `tweedie quickstart`, which `npm start` runs: from the shipped weights, or from a model and a minority classifier of
 * one's own, to pictures. The same noise is drawn three times, plainly, self-guided and minority-guided, and one report
 * shows all side by side.
 */
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { encodePng } from '../../data/index.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { contactSheet } from '../../data/contact-sheet.ts'
import { counted } from '../counted.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { modelDrawer } from '../sampling/by-model.ts'
import { draw } from '../sampling/draw.ts'
import { openModel } from '../files.ts'
import { file, integer, output, text } from '../option.ts'
import { sampleSettings } from '../options/sample.ts'
import { claimOutputs, inputsOf } from '../outputs.ts'
import { meanScore, writeReport, type ReportRun } from '../pages/report.ts'
import { finish, firstPictures, outputsOf, resumable, sample } from './sample.ts'
import { setUp } from '../sampling/setup.ts'
import { shipped } from '../shipped.ts'
import { print, tell } from '../print.ts'

/** What is drawn, with its options; how the figures were chosen: weights/bccd32-minority.md. */
const methodsWith = (classifier: string, target: string) => ({
  plain: ['--method', 'ancestral'],
  'self-guided': ['--method', 'self-guided', '--guide-weight', '0.4'],
  'minority-guided': [
    '--method',
    'minority-guided',
    '--minority-classifier',
    classifier,
    '--minority-target',
    target,
    '--minority-scale',
    '2',
  ],
})

const options = {
  out: output({ value: 'DIR', help: 'folder for the results', default: 'out/quickstart' }),
  number: integer({ value: 'N', min: 1, max: 1000, help: 'samples of each kind', default: '16' }),
  steps: integer({ value: 'N', min: 1, max: 1000, help: 'steps of each sample', default: '50' }),
  seed: integer({ value: 'N', help: 'other samples', default: '0' }),
  lpips: file({
    value: 'FILE',
    help: 'LPIPS weights to measure distances with',
    otherwise: 'our feature net of blood cells; L2 with --model',
  }),
  model: file({
    value: 'M.safetensors',
    help: 'a model of your own, with its --minority-classifier',
    otherwise: 'the shipped one, of blood cells',
  }),
  'minority-classifier': file({
    value: 'C.safetensors',
    help: 'the classifier of minority levels that was trained on the noise of --model',
  }),
  'minority-target': text({ value: 'rarest|99|90-99', help: 'levels to draw', default: 'rarest' }),
  ...deviceOptions,
}

export const quickstart: Command<typeof options> = {
  name: 'quickstart',
  usage: '[options]',
  summary:
    'draw plain, self-guided and minority-guided samples with the shipped weights, and a report that compares them',
  options,
  positionals: [0, 0],
  notes: [
    'Self-guided is Um & Ye, ECCV 2024; minority-guided Um et al., ICLR 2024, Eq. 8; the score of each picture Eq. 7.',
    'The shipped models are toys that draw blood cells; their model cards lie beside them in the ' +
      'package, weights/bccd32-*.md.',
    'A finished quickstart stays as it is: other options need another --out.',
  ],
  examples: ['quickstart', 'quickstart --seed 7 --out out/seed7'],
  async run(argv, given) {
    const start = performance.now()
    const args = parseArguments(quickstart, argv)
    const session = onDevice(given, args)
    const out = resolve(args.get('out'))
    const number = args.get('number')
    const steps = args.get('steps')
    const [ownModel, ownClassifier] = [args.get('model'), args.get('minority-classifier')]
    if ((ownModel === undefined) !== (ownClassifier === undefined))
      fail('--model and --minority-classifier belong together: give both, or neither for the shipped ones.')
    const methods = methodsWith(ownClassifier ?? shipped('minorityClassifier'), args.get('minority-target'))
    const names = Object.keys(methods)
    tell(
      `${counted(number, 'sample')} of each kind (${names.join(', ')}) in ${counted(steps, 'step')}, with ` +
        `the same noise, into ${out}`,
    )
    const model = ownModel ?? shipped('model')
    const common = [
      '--model',
      model,
      '--respacing',
      String(steps),
      '--number',
      String(number),
      '--seed',
      String(args.get('seed')),
    ]
    common.push(
      ...(args.has('lpips')
        ? ['--lpips', args.required('lpips')]
        : ['--distance', ownModel === undefined ? 'features' : 'l2']),
    )
    await using _ = await claimOutputs({
      command: 'quickstart',
      inputs: inputsOf(args),
      folders: [{ option: '--out', path: out, names: /^(contact-sheet\.png|report\.html)$/, record: 'plain/run.json' }],
    })
    const runs: ReportRun[] = []
    for (const [name, options] of Object.entries(methods)) {
      const file = await openModel(model, {}, session.signal)
      try {
        const settings = sampleSettings(
          parseArguments(sample, [...common, ...options, '--out', join(out, name)]),
          file.description,
        )
        await using _ = await claimOutputs(outputsOf(settings, []))
        const setup = await setUp(settings, file, null, session)
        try {
          const record = await resumable(settings, session, () =>
            draw(modelDrawer(setup, settings, name), settings, session),
          )
          runs.push({ ...(await finish(settings, record, setup.distance.name, session.signal)), name })
        } finally {
          setup.dispose()
        }
      } finally {
        await file.checkpoint.close()
      }
    }
    await compare(out, runs, session.signal)
    print(
      `Mean minority score (${runs[0]?.distance}): ` +
        `${runs.map((run) => `${run.name} ${meanScore(run)?.toPrecision(4)}`).join(', ')}`,
    )
    print(`Open ${pathToFileURL(join(out, 'report.html')).href}`)
    print(`Done in ${((performance.now() - start) / 1000).toFixed(0)} s.`)
  },
}

/** Pictures in a row of the comparison: more would make a strip. */
const across = 64

/** One report and one picture of all runs, a row each. */
async function compare(out: string, runs: readonly ReportRun[], signal: AbortSignal): Promise<void> {
  const images = []
  for (const run of runs) images.push(...(await firstPictures(run, across)))
  await writeFileAtomic(
    join(out, 'contact-sheet.png'),
    [encodePng(contactSheet(images, images.length / runs.length))],
    { signal },
  )
  await writeReport(
    out,
    runs,
    {
      title: 'Plain, self-guided and minority-guided samples',
      intro:
        'Each row of pictures was drawn from the same noise: as the model draws by itself, led towards what the ' +
        'model finds unlikely (self-guided minority sampling, Um & Ye, ECCV 2024), and led by a classifier to ' +
        'the rarest level of the training data (minority guidance, Um et al., ICLR 2024). The number under a ' +
        'picture is its minority score.',
    },
    signal,
  )
}
