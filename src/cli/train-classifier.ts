/** `tweedie train classifier`: a minority classifier from labelled images, on the noise of a diffusion model. */
import { basename, join } from 'node:path'
import { checkImages, imageBatch, trainingBatch, type ImageSet } from '../data/index.ts'
import { createNamedScheduleSampler, GaussianDiffusion, type MinorityMetadata } from '../diffusion/index.ts'
import { Classifier, configMetadata, initializeParameters, memoryOf, parameterCount, planOf, stateDictOf, type ClassifierConfig, type UNetConfig } from '../nn/index.ts'
import { classifierTask, evaluateClassifier, Trainer, type ClassifierEvaluation } from '../train/index.ts'
import { fail, parseArguments, type Arguments, type Command } from './arguments.ts'
import { checkScored, countsOf, labelOptions, levelled, openLevels } from './classifier-data.ts'
import { classifierNetworkOf, classifierOptions, processOf, processOptions, told, type Process } from './classifier-options.ts'
import { evaluationsOf, reviewLine, type ClassifierReview } from './classifier-page.ts'
import { computedOn, onDevice } from './device.ts'
import { loadWithProgress, openModel, sha256OfFile, type ModelFile } from './files.ts'
import { together } from './setup.ts'
import { commonSize, trainingNeed } from './train-diffusion.ts'
import { resumeRun, trainToEnd } from './train-run.ts'
import { imageOptions, runSettings, trainOptions, type RunSettings } from './train-options.ts'
import { trainPage } from './train-page.ts'

const options = {
  ...imageOptions,
  ...labelOptions,
  ...processOptions,
  extractor: { value: 'E.safetensors', help: 'a frozen ADM classifier, whose features the minority classifier reads instead of pixels' },
  'extractor-preset': { value: 'NAME', help: 'the published classifier it is, for a file that does not say so itself' },
  ...trainOptions,
  lr: { ...trainOptions.lr, default: '3e-4' },
  anneal: { ...trainOptions.anneal, default: '1' },
  'weight-decay': { ...trainOptions['weight-decay'], default: '0.05' },
  ema: { ...trainOptions.ema, default: 'none' },
  ...classifierOptions,
  'schedule-sampler': { value: 'uniform|loss-second-moment', help: 'how steps are chosen', default: 'uniform' },
  'evaluate-on': { value: 'N', help: 'images on which each checkpoint is tested, of those held back and of the training images alike; 0: none', default: '512' },
} as const

type Options = keyof typeof options

export const trainClassifier: Command = {
  name: 'train classifier',
  usage: '--data DATA --labels labels.json --model M --images N --out DIR [options]',
  summary: 'train a classifier of minority levels, which leads samples of a diffusion model to them',
  options,
  positionals: [0, 0],
  notes: [
    'Levels come from tweedie score and tweedie label. The classifier learns to tell them from noised images (Um et al., ICLR 2024); sample --method minority-guided takes the result. With --extractor it reads the features of a frozen classifier, as published for LSUN and ImageNet.',
    'The folder gets state.safetensors (to go on with --resume), model.safetensors, ema-RATE.safetensors for each --ema, log.csv and report.html. A run that is killed loses the steps since its last checkpoint.',
  ],
  examples: [
    'train classifier --data cells.npz --select split.json --labels labels.json --model weights/bccd32-adm.safetensors --augment symmetries --images 20000 --out runs/minority',
    'train classifier --data lsun/ --labels labels.json --preset mc_lsun --extractor 256x256_classifier.safetensors --batch 256 --crop random --augment flip --images 15360000 --out runs/lsun',
  ],
  async run(argv, session) {
    const args = parseArguments<Options>(trainClassifier, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const settings = settingsOf(args)
    const { seed, out, train } = settings
    const data = await openLevels(args, seed, signal)
    const { labels, all } = data
    const model = await openGuided(args, signal)
    const { process, said } = processOf(args, model)
    checkScored(data, process, said)
    if (model && model.sha256 !== labels.scores.model) console.error(`note: ${data.path} was scored with another model file than ${model.path}.`)

    const extractorFile = await openExtractor(args, process, signal)
    try {
      const extractorConfig = extractorFile?.config
      const { config, images: shape } = classifierNetworkOf(args, {
        model, extractor: extractorConfig ? { config: extractorConfig } : null,
        data: { size: commonSize(all), channels: all.channels, classes: all.classes?.length ?? null }, levels: labels.levels,
      })
      const crop = args.choice('crop', ['center', 'random']) ?? 'center'
      const augment = args.choice('augment', ['none', 'flip', 'symmetries']) ?? 'none'
      const scheduleSampler = args.choice('schedule-sampler', ['uniform', 'loss-second-moment']) ?? 'uniform'
      const evaluateOn = args.integer('evaluate-on') ?? 512
      for (const part of [data.train, data.heldBack]) if (part) checkImages(part, { size: shape.size, crop })
      if (labels.within === 'class' && config.numClasses === null) console.error('note: the levels were cut within each class; --class-cond tells the classifier the class.')

      const batch = Math.min(train.batch, train.microbatch ?? train.batch)
      using device = await requestDevice({ need: together([trainingNeed(config, train), ...(extractorConfig ? [memoryOf(extractorConfig, { batch })] : [])]), signal })
      console.error(`${labels.levels} levels of ${countsOf(data.counts)} training images${data.heldBack ? `, ${data.heldBack.length.toLocaleString('en')} held back` : ''}; ${parameterCount(stateDictOf(planOf(config))).toLocaleString('en')} parameters; ${computedOn(device)}`)
      using extractor = extractorFile && await loadWithProgress(device, extractorFile.file, signal) as Classifier
      using classifier = new Classifier(config, initializeParameters(device, planOf(config), seed))
      const diffusion = new GaussianDiffusion({ ...process, schedule: process.noiseSchedule })
      const network = { diffusion, ...(extractor && { extractor }) }
      const withLevels = levelled(data, [config, extractorConfig].some((one) => (one?.numClasses ?? null) !== null))
      const task = classifierTask(device, {
        ...network, classifier, seed, scheduleSampler: createNamedScheduleSampler(scheduleSampler, diffusion.steps),
        load: async (first, count, signal) => withLevels(data.train, await trainingBatch(data.train, first, count, { ...shape, crop, augment, seed }, signal)),
      })
      using trainer = new Trainer(device, task, train)
      const minority: MinorityMetadata = {
        levels: labels.levels, thresholds: labels.thresholds, within: labels.within, schedule: process.noiseSchedule, diffusionSteps: process.diffusionSteps, rescaleTimesteps: process.rescaleTimesteps,
        extractor: extractorFile && { sha256: extractorFile.sha256, name: basename(extractorFile.file.path) },
      }
      const metadata = { ...configMetadata(config, process), minority: JSON.stringify(minority) }
      const run = {
        data: all.fingerprint, trainedOn: data.train.fingerprint, labels: data.sha256, crop, augment, seed, scheduleSampler, ...train, ...metadata,
        adapter: device.backend.kind === 'cpu' ? device.adapter.architecture : device.backend.kind,
      }
      const rate = train.emaRates?.at(-1)
      const average = rate === undefined ? 'model' : `ema-${rate}`
      const evaluated = new Classifier(config, trainer.optimizer.emas.at(-1) ?? classifier.parameters)

      const review = async (step: number): Promise<void> => {
        if (evaluateOn === 0) return
        const on = (part: ImageSet): Promise<ClassifierEvaluation> => {
          const count = Math.min(evaluateOn, part.length)
          return evaluateClassifier(device, {
            ...network, classifier: evaluated, seed, signal, batch, count,
            load: async (first, n) => withLevels(part, await imageBatch(part, Array.from({ length: n }, (_, i) => Math.floor((first + i) * part.length / count)), shape, signal)),
          })
        }
        const found: ClassifierReview = { step, images: step * train.batch, average, train: await on(data.train), ...(data.heldBack ? { heldBack: await on(data.heldBack) } : {}) }
        trainer.evaluations.push(found)
        console.error(reviewLine(found))
      }

      await resumeRun({ trainer, settings, run }, signal)
      const page = (): string => trainPage({ title: 'Training a minority classifier', trainer, run, ...evaluationsOf(trainer.evaluations as ClassifierReview[], labels.levels) })
      await trainToEnd({ trainer, settings, run, metadata, review, page }, signal)
      console.log(`${join(out, 'report.html')}; sample --method minority-guided takes --minority-classifier ${join(out, `${average}.safetensors`)}`)
    } finally {
      await extractorFile?.file.checkpoint.close()
    }
  },
}

/** Of the papers: AdamW with lr 3e-4 that falls to 0, weight decay 0.05, no averages. */
function settingsOf(args: Arguments<Options>): RunSettings {
  const settings = runSettings(args, { lr: 3e-4, ema: [] })
  return { ...settings, train: { ...settings.train, weightDecay: args.number('weight-decay', { min: 0 }) ?? 0.05, anneal: args.number('anneal', { min: 0, max: 1 }) ?? 1 } }
}

/** What --model says; its weights are not needed. */
async function openGuided(args: Arguments<'model' | 'model-preset'>, signal: AbortSignal) {
  if (!args.has('model')) return null
  const file = await openModel(args.required('model'), args.text('model-preset'), signal)
  await file.checkpoint.close()
  const { path, description: { config, diffusion } } = file
  if (config.kind !== 'unet' || config.superResolution) return fail(`${path}: --model takes the U-Net that draws images by itself.`)
  return { path, sha256: await sha256OfFile(path, signal), config: config as UNetConfig, ...(diffusion && { diffusion }) }
}

async function openExtractor(args: Arguments<'extractor' | 'extractor-preset'>, process: Process, signal: AbortSignal): Promise<{ file: ModelFile; config: ClassifierConfig & { kind: 'classifier' }; sha256: string } | null> {
  if (!args.has('extractor')) return null
  const file = await openModel(args.required('extractor'), args.text('extractor-preset'), signal)
  const { path, description: { config, diffusion } } = file
  try {
    if (config.kind !== 'classifier') return fail(`${path}: --extractor takes an ADM classifier, found a U-Net.`)
    if (diffusion && told(diffusion) !== told(process)) return fail(`${path}: a classifier of the noise "${told(diffusion)}", but the model draws with "${told(process)}": take one that was trained on the model's noise.`)
    return { file, config, sha256: await sha256OfFile(path, signal) }
  } catch (error) {
    await file.checkpoint.close()
    throw error
  }
}
