/** `tweedie score`: minority scores of a data set, as a file for `label` or a table, and as a page to look at. */
import { resolve } from 'node:path'
import { scoreProcess, type ScoreStep } from '../../diffusion/index.ts'
import { memoryOf, type UNet } from '../../nn/index.ts'
import { together } from '../../tweedie/need.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { dataOptions, fitImages, openData } from '../options/data.ts'
import { sayDepartures, scoreDepartures } from '../sampling/departures.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { distanceNeeds, distanceSettings, loadDistance } from '../options/distance.ts'
import { loadWithProgress, openModel, sha256OfFile } from '../files.ts'
import { toldOf } from '../options/flags.ts'
import { images, integer, integers, output, text } from '../option.ts'
import { processOptions, processSettings } from '../options/sample.ts'
import { noteIdle } from '../options/guidance.ts'
import { claimOutputs, inputsOf } from '../outputs.ts'
import { keepsOtherPage, keepsOtherScores, runScores, type ScoreJob } from '../scoring/score-run.ts'
import { classesFor } from '../scoring/classes-told.ts'
import { lookAt } from '../training/train-images.ts'

const options = {
  ...processOptions,
  ...dataOptions,
  images: images({ value: 'DIR', help: 'the same as --data' }),
  out: output({
    value: 'FILE',
    help: 'scores.json for tweedie label, scores.csv for a table of name,score',
    default: 'scores.json',
  }),
  html: output({
    value: 'page.html',
    help: 'also a page: images sorted by score beside their reconstructions, histograms, mean score by class',
  }),
  step: text({
    value: 'INDEX|F',
    help:
      'strength of the noise: an index of the 100 steps, as in 60, or a fraction of T, as in 0.6T, for which ' +
      'the nearest of the 100 is taken',
    otherwise: '0.9T for cosine, 0.6T for linear',
  }),
  draws: integer({ value: 'N', min: 1, help: 'noise draws averaged', default: '1' }),
  labels: integers({
    value: '3,8',
    help: 'what a class-conditional model is told, in the order of images; fewer than images start over',
    otherwise: "the data's classes",
  }),
  batch: integer({ value: 'N', min: 1, max: 4096, help: 'images at a time', default: '8' }),
  seed: integer({
    value: 'N',
    help: 'image k of a data set gets the same noise in any batch and any selection',
    default: '0',
  }),
  ...deviceOptions,
}

export const score: Command<typeof options> = {
  name: 'score',
  usage: '--model M.safetensors --data DATA [options]',
  summary: 'score the images of a data set: how rare the model finds each',
  options,
  positionals: [0, 0],
  notes: [
    'The minority score (Um et al., ICLR 2024, Eq. 7) is the distance of an image from what the model makes of ' +
      "it after it was drowned in noise. The papers measure it with LPIPS (vgg). Images larger than the model's " +
      'are scaled and centre-cropped. A class-conditional model is told the class of each image (Eq. 16), and its ' +
      'scores say what is rare in a class.',
    'A stopped run goes on with the same command: its scores are kept beside --out, about once a minute. ' +
      'Finished scores are never replaced by those of other settings; the same command makes what is ' +
      'missing, such as the page.',
  ],
  examples: [
    'score --model bccd32 --data cells.npz --out scores.json --html scores.html',
    'score --model bccd32 --data out/sample --out scores.csv --draws 4',
  ],
  async run(argv, session) {
    const args = parseArguments(
      score,
      argv.map((word) => word.replace(/^--images(?==|$)/, '--data')),
    )
    const { signal, requestDevice } = onDevice(session, args)
    const modelPath = args.required('model')
    const file = await openModel(modelPath, toldOf(args), signal)
    try {
      const { config } = file.description
      if (config.kind !== 'unet' || config.superResolution)
        return fail(`${file.name}: scores need a U-Net that draws images by itself.`)
      // All that can be said against a job is said before the device is asked for, sizes of the images included.
      const { process, clipDenoised } = processSettings(args, file.description)
      noteIdle(args, 'sampling: a score needs no variance', false, ['sigma-small'])
      const settings = {
        process,
        clipDenoised,
        ...scoreProcess(process, stepOf(args.get('step'))),
        draws: args.get('draws'),
        seed: args.get('seed'),
        out: resolve(args.get('out')),
        html: args.get('html') ?? null,
      }
      await using _ = await claimOutputs({
        command: 'score',
        inputs: inputsOf(args),
        files: [
          { option: '--out', path: settings.out, keeps: keepsOtherScores },
          ...(settings.html === null ? [] : [{ option: '--html', path: settings.html, keeps: keepsOtherPage }]),
        ],
      })
      const wanted = args.get('batch')
      const distances = distanceSettings(args, config)
      const part = await openData(args, signal, { whole: true })
      fitImages(part, { size: config.imageSize, crop: 'center' })
      const { set, indices } = part.origin ?? { set: part, indices: Array.from({ length: part.length }, (_, k) => k) }
      const batch = Math.min(wanted, indices.length)
      const job: ScoreJob = {
        ...settings,
        batch,
        set,
        indices,
        told: classesFor(args, config, set),
        model: { path: modelPath, sha256: await sha256OfFile(modelPath, signal) },
      }
      const needs = [
        memoryOf(config, { batch }),
        ...(await distanceNeeds(distances, { batch, size: [config.imageSize, config.imageSize] }, signal)),
      ]
      await lookAt([part], signal)

      using device = await requestDevice({ need: together(needs), signal })
      const distance = await loadDistance(device, distances, signal)
      try {
        sayDepartures(scoreDepartures(file.description.preset, distance.name, settings.t))
        using model = (await loadWithProgress(device, file, signal)) as UNet
        await runScores(job, { device, model, distance }, signal)
      } finally {
        distance.dispose()
      }
    } finally {
      await file.checkpoint.close()
    }
  },
}

/** `60`, an index, or `0.6T`, a fraction. */
function stepOf(text: string | undefined): ScoreStep | undefined {
  if (text === undefined) return undefined
  const [, number = '', fraction] = /^(\d+(?:\.\d+)?)\s*(T?)$/.exec(text.trim()) ?? []
  if (fraction === 'T') return { fraction: Number(number) }
  return /^\d+$/.test(number)
    ? { index: Number(number) }
    : fail(`--step: expected an index of the 100 steps, as in 60, or a fraction of T, as in 0.6T, found "${text}".`)
}
