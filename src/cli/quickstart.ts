/**
 * `tweedie quickstart`, which `npm start` runs: from the shipped weights to pictures. The same noise is drawn twice,
 * plainly and self-guided, and one report shows both side by side.
 */
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { decode } from 'fast-png'
import { writeFileAtomic } from '../io/index.node.ts'
import { parseArguments, type Command } from './arguments.ts'
import { contactSheet } from './contact-sheet.ts'
import { deviceOptions, onDevice } from './device.ts'
import { draw } from './draw.ts'
import { openModel } from './files.ts'
import { encodePng, type Image } from './image.ts'
import { sampleSettings, type SampleOption, type SampleSettings } from './options.ts'
import { meanScore, report, type ReportRun } from './report.ts'
import { finish, resumable, sample } from './sample.ts'
import { setUp } from './setup.ts'
import { version } from './version.ts'

/** Both chosen by looking at pictures, of weights 0.5, 0.8 and 1 and seeds 0, 3 and 11: see weights/bccd32-adm.md. */
const weight = 1
const defaultSeed = 3

const options = {
  out: { value: 'DIR', help: 'folder for the results', default: 'out/quickstart' },
  number: { value: 'N', help: 'samples of each kind', default: '16' },
  steps: { value: 'N', help: 'steps of each sample', default: '50' },
  seed: { value: 'N', help: 'other samples', default: String(defaultSeed) },
  lpips: { value: 'FILE', help: 'LPIPS weights to measure distances with', default: 'L2' },
  ...deviceOptions,
} as const

export const quickstart: Command = {
  name: 'quickstart',
  usage: '[options]',
  summary: 'draw plain and self-guided samples with the shipped weights, and a report that compares them',
  options,
  positionals: [0, 0],
  notes: ['The shipped model is a toy that draws blood cells; its model card is weights/bccd32-adm.md.'],
  examples: ['quickstart', 'quickstart --seed 7 --out out/seed7'],
  async run(argv, given) {
    const start = performance.now()
    const args = parseArguments<keyof typeof options>(quickstart, argv)
    const session = onDevice(given, args)
    const out = resolve(args.text('out') ?? 'out/quickstart')
    const model = fileURLToPath(new URL('../../weights/bccd32-adm.safetensors', import.meta.url))
    const number = args.integer('number', { min: 1, max: 1000 }) ?? 16
    const steps = args.integer('steps', { min: 1, max: 1000 }) ?? 50
    console.error(`${number} plain and ${number} self-guided samples of ${steps} steps, with the same noise, into ${out}`)
    const wanted = ['--model', model, '--method', 'self-guided', '--guide-weight', String(weight), '--respacing', String(steps),
      '--number', String(number), '--seed', String(args.integer('seed') ?? defaultSeed), '--out', join(out, 'self-guided')]
    if (args.has('lpips')) wanted.push('--lpips', args.required('lpips'))
    const file = await openModel(model, undefined, session.signal)
    try {
      const guided = sampleSettings(parseArguments<SampleOption>(sample, wanted), file.description)
      const plain: SampleSettings = { ...guided, method: 'ancestral', guide: null, out: join(out, 'plain') }
      const setup = await setUp(guided, file, null, session)
      const runs: ReportRun[] = []
      try {
        for (const [name, settings] of [['plain', plain], ['self-guided', guided]] as const) {
          const record = await resumable(settings, session, () => draw(setup, settings, version(), session, { what: name }))
          runs.push({ ...await finish(settings, record, setup.distance.name, session.signal), name })
        }
      } finally {
        setup.dispose()
      }
      await compare(out, runs, session.signal)
      const [before, after] = runs.map(meanScore) as [number, number]
      console.log(`Mean minority score (${runs[0]?.distance}): plain ${before.toPrecision(4)}, self-guided ${after.toPrecision(4)}`)
      console.log(`Open ${pathToFileURL(join(out, 'report.html')).href}`)
      console.log(`Done in ${((performance.now() - start) / 1000).toFixed(0)} s.`)
    } finally {
      await file.checkpoint.close()
    }
  },
}

/** One report and one picture of both runs: plain above, self-guided below. */
async function compare(out: string, runs: readonly ReportRun[], signal: AbortSignal): Promise<void> {
  const images = runs.map(({ samples }) => samples.map(({ png }) => decode(png) as unknown as Image))
  const columns = images[0]?.length ?? 1
  await writeFileAtomic(join(out, 'contact-sheet.png'), [encodePng(contactSheet(images.flat(), columns))], { signal })
  const html = report(runs, {
    title: 'Plain and self-guided samples',
    intro: 'Each pair was drawn from the same noise: left as the model draws by itself, right led towards what the model finds unlikely (self-guided minority sampling, Um & Ye, ECCV 2024). The number under a picture is its minority score.',
    side: images[0]?.[0]?.width ?? 1,
  })
  await writeFileAtomic(join(out, 'report.html'), [new TextEncoder().encode(html)], { signal })
}
