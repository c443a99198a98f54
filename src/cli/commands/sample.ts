/** `tweedie sample`: draws samples into a folder, with a contact sheet, a report and the run.json to replay it. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeImage, encodePng, type Image } from '../../data/index.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { TweedieError } from '../../errors.ts'
import { parseArguments, type Arguments, type Command } from '../arguments.ts'
import { contactSheet, sheetRoom } from '../../data/contact-sheet.ts'
import { counted } from '../counted.ts'
import { onDevice } from '../options/device.ts'
import { beginsOf, draw } from '../sampling/draw.ts'
import { lookAtModel, openModel } from '../files.ts'
import { openNoted } from '../options/data.ts'
import { toldOf } from '../options/flags.ts'
import { knownFiles } from '../options/known-files.ts'
import { removeParts } from '../sampling/numbers.ts'
import { sampleOptions, sampleSettings, type RunSettings } from '../options/sample.ts'
import { publishedUpsampler, secondStageSettings } from '../options/second-stage.ts'
import { claimOutputs, inputsOf, keepsOtherTensors, type Outputs } from '../outputs.ts'
import { meanScore, writeReport, type ReportRun } from '../pages/report.ts'
import type { FinishedSample, Kernels, RunRecord } from '../../tweedie/run-record.ts'
import { runNames, saveRecord } from '../sampling/run-record.ts'
import type { Session } from '../session.ts'
import { readNoise, setUp } from '../sampling/setup.ts'
import { keepsOtherSamples, writeSamplesNpz } from '../sampling/samples-npz.ts'
import { secondStage } from '../sampling/second-stage.ts'
import { modelDrawer } from '../sampling/by-model.ts'
import { print, tell } from '../print.ts'

export const sample: Command<typeof sampleOptions> = {
  name: 'sample',
  usage: '--model M.safetensors | --upsampler U --base-samples DATA [options]',
  summary:
    'draw samples: plain, DDIM, led to the rare by themselves or by a minority classifier, small or in two stages',
  options: sampleOptions,
  positionals: [0, 0],
  notes: [
    'Guidances add up: each kind is added to any method and sampler by its own options. --method ' +
      'minority-guided, sehwag and attributes only say that theirs must be there.',
    'Papers: self-guided is Um & Ye, ECCV 2024. boost-and-skip is Um et al., ICML 2025. minority-guided is Um et ' +
      'al., ICLR 2024, Eq. 8, with a class-conditional classifier Eq. 17, with --minority-tilt Eq. 18; each score ' +
      'is Eq. 7, of a class-conditional model Eq. 16. classifier guidance is Dhariwal & Nichol, NeurIPS 2021; ddim ' +
      'Song et al., ICLR 2021; sehwag Sehwag et al., CVPR 2022.',
    'Defaults are what was published for the model, where its file or --preset says which it is. What a run does ' +
      'otherwise is said, and kept in run.json.',
    "Of a self-guided run, run.json and the report have the paper's own metric of each sample beside its " +
      'minority score: the distance whose gradient led it, of the state at the last guided step.',
    'The folder gets sample-0000.png and so on, contact-sheet.png (of very many the first), report.html (a page ' +
      'for every thousand; up to 16 MiB of pictures are inside, so that it can be mailed) and run.json. When a run ' +
      'was interrupted, the same command goes on after its last finished batch, and its pictures are the same. A ' +
      'finished run stays as it is: the same command makes what is missing, a larger --number adds samples, and ' +
      'other options need another --out.',
  ],
  examples: [
    'sample --model bccd32 --respacing 50',
    'sample --model bccd32 --respacing 50 --method self-guided --guide-weight 0.8 --seed 7 --out out/rare',
    'sample --model bccd32 --respacing 50 --method minority-guided --minority-scale 2',
    'sample --model M.safetensors --method minority-guided --minority-classifier mc.safetensors --minority-target 9',
    'sample --model 64x64_diffusion.pt --preset 64x64_diffusion --labels 207,949 --self-guided --upsampler ' +
      '64_256_upsampler.pt --upsampler-preset 64_256_upsampler --upsampler-respacing 250',
    'sample --model 64x64_diffusion.pt --preset 64x64_diffusion --labels random --method ddim ' +
      '--eta 0.7 --respacing ddim50',
    'sample --upsampler 64_256_upsampler.pt --upsampler-preset 64_256_upsampler --upsampler-respacing 250 ' +
      '--base-samples samples_50000x64x64x3.npz --out out/large',
  ],
  async run(argv, session) {
    await runSample(parseArguments(sample, argv), session)
  },
}

/** Draws what the arguments say and prints where it is. `kernels`: those of the run that is repeated. */
export async function runSample(
  args: Arguments<typeof sampleOptions>,
  session: Session,
  kernels?: Kernels,
): Promise<RunRecord> {
  const given = onDevice(session, args)
  const run = await (args.has('base-samples') ? runSecondStage : runModel)(args, given, kernels)
  const [{ record, distance }, score] = [run, meanScore(run)]
  print(
    `${counted(record.samples.length, 'sample')}, ` +
      `${score === null ? '' : `mean minority score ${score.toPrecision(4)} (${distance}): `}` +
      join(run.folder, 'report.html'),
  )
  if (record.options.save !== undefined) print(`Numbers: ${record.options.save}`)
  if (args.has('npz')) print(`Samples: ${args.path('npz')}`)
  return record
}

type Run = (args: Arguments<typeof sampleOptions>, session: Session, kernels?: Kernels) => Promise<ReportRun>

const runModel: Run = async (args, session, kernels) => {
  const { signal } = session
  const path = args.required('model', ': the weights to draw from, as in --model bccd32')
  const file = await openModel(path, toldOf(args), signal)
  try {
    const noise = args.get('noise')
    const given = noise === undefined ? null : await readNoise(noise, file.description.config.inChannels, signal)
    const settings = sampleSettings(args, file.description, given?.shape[0], await knownFiles(args, signal))
    await using _ = await claimOutputs(outputsOf(settings, inputsOf(args)))
    const setup = await setUp(settings, file, given, session)
    try {
      const unfinished = await resumable(settings, session, () =>
        draw(modelDrawer(setup, settings), settings, session, kernels),
      )
      return await finish(settings, unfinished, setup.distance.name, signal)
    } finally {
      setup.dispose()
    }
  } finally {
    await file.checkpoint.close()
  }
}

/** Large pictures of small ones that are there. */
const runSecondStage: Run = async (args, session, kernels) => {
  const { signal } = session
  const path = args.required('upsampler', ': the second stage, which makes --base-samples large')
  const told = { preset: args.get('upsampler-preset'), weights: args.get('upsampler-weights') }
  const { description, checkpoint } = await lookAtModel(path, told, signal)
  await checkpoint.close()
  const set = await openNoted(args.required('base-samples'), { signal, skipBad: args.get('skip-bad') ?? false })
  const settings = secondStageSettings(args, description, set)
  await using _ = await claimOutputs(outputsOf(settings, inputsOf(args)))
  const published = publishedUpsampler(args, description)
  using drawer = await secondStage(settings, set, { config: description.config, published }, session)
  const unfinished = await resumable(settings, session, () => draw(drawer, settings, session, kernels))
  return await finish(settings, unfinished, null, signal)
}

/** What a run writes, for {@link claimOutputs}. */
export const outputsOf = ({ out, save, npz }: RunSettings, inputs: Outputs['inputs']): Outputs => ({
  command: 'sample',
  inputs,
  folders: [{ option: '--out', path: out, names: runNames, record: 'run.json' }],
  files: [
    ...(save === null
      ? []
      : [{ option: '--save', path: save, keeps: keepsOtherTensors(/^(sample|base|first_step|middle_step)$/) }]),
    ...(npz === null ? [] : [{ option: '--npz', path: npz, keeps: keepsOtherSamples }]),
  ],
})

/** Says of a failure in the middle that what is finished is kept. */
export async function resumable<T>({ out }: RunSettings, { signal }: Session, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (signal.aborted) tell(`Finished batches are in ${out}; the same command goes on from there.`)
    if (!(error instanceof TweedieError) || error.code !== 'device-lost') throw error
    throw new TweedieError(
      'device-lost',
      `${error.message} Finished batches are in ${out}; the same command goes on from there.`,
      { cause: error },
    )
  }
}

/** Adds contact sheet and report to a drawn run, and marks it as done. */
export async function finish(
  settings: RunSettings,
  unfinished: RunRecord,
  distance: string | null,
  signal: AbortSignal,
): Promise<ReportRun> {
  const { out } = settings
  const name = String(unfinished.options.method ?? 'second stage')
  const record: RunRecord = { ...unfinished, status: 'done' }
  const { samples } = record
  const run: ReportRun = { name, record, distance, folder: out }
  await writeFileAtomic(join(out, 'contact-sheet.png'), [encodePng(contactSheet(await firstPictures(run)))], { signal })
  await writeReport(
    out,
    [run],
    { title: `${counted(samples.length, 'sample')}, ${name}`, intro: introOf(samples) },
    signal,
  )
  await saveRecord(out, record)
  if (settings.save !== null) await removeParts(out, beginsOf(settings))
  if (settings.npz !== null) await writeSamplesNpz(settings.npz, out, record, signal)
  return run
}

/** As many of a run's pictures as a contact sheet takes, one file open at a time; `most`: fewer. */
export async function firstPictures({ folder, record: { samples } }: ReportRun, most = Infinity): Promise<Image[]> {
  const images: Image[] = []
  for (const { file } of samples) {
    if (images.length === Math.min(most, images.length > 0 ? sheetRoom(images[0]) : 1)) break
    images.push(decodeImage(await readFile(join(folder, file)), file))
  }
  return images
}

function introOf(samples: readonly FinishedSample[]): string {
  const led = samples.some(({ targets }) => targets?.minority !== undefined) ? ', the minority level it was led to' : ''
  const small = samples.some(({ base }) => base !== undefined)
  const measured = samples.some(({ metric }) => metric !== undefined) ? ", and self-guidance's own metric" : ''
  if (samples.some(({ score }) => score === undefined))
    return 'Each picture with its number, and the small picture it was made from beside it.'
  return (
    `Each picture with its number${led} and the minority score` +
    `${small ? ' of the small picture it was made from, beside it' : ''}${measured}.`
  )
}
