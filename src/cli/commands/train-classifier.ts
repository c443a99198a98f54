/** `tweedie train classifier`: a classifier of noisy images from labelled ones, on the noise of a diffusion model. */
import { fitImages } from '../options/data.ts'
import { basename, join } from 'node:path'
import { commonSize, evenlySpaced, imageBatch, trainingBatch, type ImageSet } from '../../data/index.ts'
import {
  createNamedScheduleSampler,
  diffusionOf,
  encodeClassifierMetadata,
  encodeMinorityMetadata,
  type MinorityMetadata,
} from '../../diffusion/index.ts'
import {
  Classifier,
  configMetadata,
  initializeParameters,
  isSameNoise,
  memoryOf,
  noiseInWords,
  parameterCount,
  planOf,
  stateDictOf,
  type ClassifierConfig,
  type NoiseProcess,
  type UNetConfig,
} from '../../nn/index.ts'
import {
  classifierTask,
  evaluateClassifier,
  Trainer,
  trainingMemoryOf,
  type ClassifierEvaluation,
} from '../../train/index.ts'
import { together } from '../../tweedie/need.ts'
import { fail, parseArguments, type Arguments, type Command } from '../arguments.ts'
import { attentionBefore } from '../options/attention.ts'
import {
  checkScored,
  countsOf,
  guessing,
  labelled,
  labelOptions,
  openLabelled,
  type LabelledImages,
} from '../training/classifier-data.ts'
import { classifierNetworkOf, classifierOptions, guidedNoise, guidedOptions } from '../options/classifier.ts'
import { evaluationsOf, isReview, reviewLine, type ClassifierReview } from '../pages/classifier-page.ts'
import { sayDepartures, trainingDepartures } from '../sampling/departures.ts'
import { computedOn, onDevice } from '../options/device.ts'
import { loadWithProgress, openModel, sha256OfFile, type ModelFile } from '../files.ts'
import { choice, file, integer, text } from '../option.ts'
import { inputsOf } from '../outputs.ts'
import { checkFrom, openFrom, parametersFrom } from '../training/train-from.ts'
import { lookAt } from '../training/train-images.ts'
import { claimRun, resumeRun, trainToEnd, type TrainRun } from '../training/train-run.ts'
import { imageOptions, runSettings, trainOptions } from '../options/training.ts'
import { trainPage } from '../pages/train-page.ts'
import { print, tell } from '../print.ts'

const options = {
  ...imageOptions,
  ...labelOptions,
  ...guidedOptions,
  extractor: file({
    value: 'E.safetensors',
    help: 'a frozen ADM classifier, whose features the minority classifier reads instead of pixels',
  }),
  'extractor-preset': text({
    value: 'NAME',
    help: 'the published classifier it is, for a file that does not say so itself',
  }),
  ...trainOptions,
  // Of the papers: AdamW with lr 3e-4 that falls to 0, weight decay 0.05, no averages.
  lr: { ...trainOptions.lr, default: '3e-4' },
  anneal: { ...trainOptions.anneal, default: '1' },
  'weight-decay': { ...trainOptions['weight-decay'], default: '0.05' },
  ema: { ...trainOptions.ema, default: 'none' },
  ...classifierOptions,
  'schedule-sampler': choice(['uniform', 'loss-second-moment'], { help: 'how steps are chosen', default: 'uniform' }),
  'evaluate-on': integer({
    value: 'N',
    help: 'images on which each checkpoint is tested, of those held back and of the training images alike; 0: none',
    default: '512',
  }),
}

export const trainClassifier: Command<typeof options> = {
  name: 'train classifier',
  usage: '--data DATA --labels labels.json|--of WHAT --model M --images N --out DIR [options]',
  summary:
    'train a classifier of minority levels, or of classes, attributes or real images, which leads samples to them',
  options,
  positionals: [0, 0],
  notes: [
    "Levels come from tweedie score and tweedie label, or are the classes of a folder that minority-guidance's " +
      'construct_ms_dataset.py made (--classes-by prefix). The classifier learns to tell them from noised images: it ' +
      'is the p(level | x_t) of Um et al., ICLR 2024, Eq. 8, with --class-cond that of Eq. 17; sample --method ' +
      'minority-guided takes the result. With --extractor it reads the features of a frozen classifier, as ' +
      'published for LSUN and ImageNet.',
    'With --of it learns something else, from the same noised images: classes, for sample --classifier and as ' +
      'the feature space of sample --method sehwag, whose discriminator is --of real (Sehwag et al., CVPR 2022); ' +
      'attributes, each there or not, for sample --method attributes.',
    'The folder gets state.safetensors (to go on with --resume), model.safetensors, ema-RATE.safetensors for ' +
      'each --ema, log.csv and report.html. A run that is killed loses the steps since its last checkpoint.',
  ],
  examples: [
    'train classifier --data cells.npz --select split.json --labels labels.json --model bccd32 --augment ' +
      'symmetries --images 20000 --out runs/minority',
    'train classifier --data lsun/ --labels labels.json --preset mc_lsun --extractor ' +
      '256x256_classifier.safetensors --batch 256 --crop random --augment flip --images 15360000 --out runs/lsun',
    'train classifier --of attributes --attributes Bald,Eyeglasses,Mustache,Wearing_Hat --data ' +
      'img_align_celeba --attributes-file list_attr_celeba.txt --model celeba.safetensors --augment flip ' +
      '--images 4000000 --out runs/attributes',
    'train classifier --of real --data cells.npz --synthetic drawn/ --model bccd32 --images 20000 --out runs/real',
  ],
  async run(argv, session) {
    const args = parseArguments(trainClassifier, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const settings = runSettings(args)
    const { seed, out, train } = settings
    await using _ = await claimRun('train classifier', settings, inputsOf(args))
    const data = await openLabelled(args, seed, signal)
    const { of, all, levels } = data
    if (of !== 'levels' && args.has('extractor'))
      fail(`--extractor is for minority classifiers; ${kinds[of].name} reads pixels.`)
    if ((of === 'classes' || of === 'real') && args.get('class-cond'))
      fail('--class-cond is for classifiers of levels and of attributes, which a class says something of.')
    if (of === 'levels' && !levels && args.get('class-cond'))
      fail(
        '--class-cond needs classes, and those of these images are their levels: --labels FILE has levels beside them.',
      )
    const model = await openGuided(args, signal)
    const { process, said } = guidedNoise(args, model)
    if (levels) checkScored(levels, process, said)
    if (levels && model && model.sha256 !== levels.file.scores.model)
      tell(`note: ${levels.path} was scored with another model file than ${model.path}.`)
    const ownClasses = model?.config.numClasses ?? null
    if (of === 'classes' && ownClasses !== null && ownClasses !== data.names.length)
      tell(`note: ${data.names.length} classes for a model of ${ownClasses}: sample --labels are not --target then.`)

    const extractorFile = await openExtractor(args, process, signal)
    try {
      const extractorConfig = extractorFile?.config
      const { config, images: shape } = classifierNetworkOf(
        args,
        {
          model,
          extractor: extractorConfig ? { config: extractorConfig } : null,
          data: { size: commonSize(all), channels: all.channels, classes: all.classes?.length ?? null },
          outputs: data.names.length,
        },
        await attentionBefore(settings, signal),
      )
      await using from = await openFrom(args, signal)
      if (from) checkFrom(from, config)
      const crop = args.get('crop')
      const augment = args.get('augment')
      const scheduleSampler = args.get('schedule-sampler')
      const evaluateOn = args.get('evaluate-on')
      for (const part of [data.train, data.heldBack]) if (part) fitImages(part, { size: shape.size, crop })
      if (levels?.file.within === 'class' && config.numClasses === null)
        tell('note: the levels were cut within each class; --class-cond tells the classifier the class.')

      await lookAt([data.train, data.heldBack], signal, out)

      const batch = Math.min(train.batch, train.microbatch ?? train.batch)
      using device = await requestDevice({
        need: together([
          trainingMemoryOf(config, train),
          ...(extractorConfig ? [memoryOf(extractorConfig, { batch })] : []),
        ]),
        signal,
      })
      tell(
        `${countsOf(data)}${data.heldBack ? `, ${data.heldBack.length.toLocaleString('en')} held back` : ''}; ` +
          `${parameterCount(stateDictOf(planOf(config))).toLocaleString('en')} parameters; ${computedOn(device)}`,
      )
      using extractor = extractorFile && ((await loadWithProgress(device, extractorFile.file, signal)) as Classifier)
      using classifier = new Classifier(
        config,
        from ? await parametersFrom(device, from, config, signal) : initializeParameters(device, planOf(config), seed),
      )
      const diffusion = diffusionOf({ config, diffusion: process })
      const network = {
        diffusion,
        ...(extractor && { extractor }),
        loss: of === 'attributes' ? 'binaryCrossEntropy' : 'crossEntropy',
      } as const
      const conditional = [config, extractorConfig].some((one) => (one?.numClasses ?? null) !== null)
      const withLabels = labelled(data, conditional)
      const task = classifierTask(device, {
        ...network,
        classifier,
        seed,
        scheduleSampler: createNamedScheduleSampler(scheduleSampler, diffusion.steps),
        load: async (first, count, signal) =>
          withLabels(
            data.train,
            await trainingBatch(data.train, first, count, { ...shape, crop, augment, seed }, signal),
          ),
      })
      using trainer = new Trainer(device, task, train)
      const metadata = {
        ...configMetadata(config, process),
        ...outputsOf(
          data,
          process,
          extractorFile && { sha256: extractorFile.sha256, name: basename(extractorFile.file.name) },
        ),
      }
      // A model that is trained on stays what it was made as.
      const preset = args.get('preset') ?? from?.description?.preset
      if (of === 'levels')
        sayDepartures(
          trainingDepartures(args.get('preset'), {
            iterations: train.steps,
            batch: train.batch,
            lr: train.lr,
            weightDecay: train.weightDecay ?? 0,
          }),
        )
      const run = {
        data: all.fingerprint,
        trainedOn: data.train.fingerprint,
        labels: data.sha256,
        crop,
        augment,
        seed,
        scheduleSampler,
        ...train,
        ...metadata,
        ...(from && { from: from.sha256 }),
        adapter: device.backend.kind === 'cpu' ? device.adapter.architecture : device.backend.kind,
      }
      const rate = train.emaRates?.at(-1)
      const average = rate === undefined ? 'model' : `ema-${rate}`
      const evaluated = new Classifier(config, trainer.optimizer.emas.at(-1) ?? classifier.parameters)

      const review = async (step: number): Promise<ClassifierReview | undefined> => {
        if (evaluateOn === 0) return undefined
        const on = (part: ImageSet): Promise<ClassifierEvaluation> => {
          const chosen = evenlySpaced(part.length, evaluateOn)
          return evaluateClassifier(device, {
            ...network,
            classifier: evaluated,
            seed,
            signal,
            batch,
            count: chosen.length,
            load: async (first, count) =>
              withLabels(part, await imageBatch(part, chosen.slice(first, first + count), shape, signal)),
          })
        }
        const found: ClassifierReview = {
          step,
          images: step * train.batch,
          average,
          train: await on(data.train),
          ...(data.heldBack ? { heldBack: await on(data.heldBack) } : {}),
        }
        tell(reviewLine(found))
        return found
      }

      const trained: TrainRun = {
        trainer,
        settings,
        run,
        images: all,
        formerRun: { data: all.formerFingerprint, trainedOn: data.train.formerFingerprint },
        classNames: (conditional && all.classes) || null,
        metadata: { ...metadata, ...(preset !== undefined && { preset }) },
        review,
        isReview,
        page: () =>
          trainPage({
            title: `Training ${kinds[of].name}`,
            trainer,
            run,
            ...evaluationsOf(trainer.evaluations as ClassifierReview[], guessing(data)),
          }),
      }
      await resumeRun(trained, signal)
      await trainToEnd(trained, signal)
      print(`${join(out, 'report.html')}; sample takes ${kinds[of].option} ${join(out, `${average}.safetensors`)}`)
    } finally {
      await extractorFile?.file.checkpoint.close()
    }
  },
}

/** What the outputs stand for, in words and as an option of `sample`. */
const kinds = {
  levels: { name: 'a minority classifier', option: '--method minority-guided --minority-classifier' },
  classes: { name: 'a classifier of classes', option: '--classifier' },
  attributes: { name: 'a classifier of attributes', option: '--method attributes --attributes-classifier' },
  real: { name: 'a classifier of real and synthetic images', option: '--sehwag-discriminator' },
}

/** The same as metadata of the model files. */
function outputsOf(
  { of, names, levels }: LabelledImages,
  noise: NoiseProcess,
  extractor: MinorityMetadata['extractor'],
): Record<string, string> {
  if (of !== 'levels') return encodeClassifierMetadata({ of, names })
  const { thresholds, within } = levels?.file ?? ({ thresholds: null, within: 'all' } as const)
  return encodeMinorityMetadata({ levels: names.length, thresholds, within, ...noise, extractor })
}

/** What --model says; its weights are not needed. */
async function openGuided(args: Arguments<Pick<typeof options, 'model' | 'model-preset'>>, signal: AbortSignal) {
  const model = args.get('model')
  if (model === undefined) return null
  const file = await openModel(model, { preset: args.get('model-preset') }, signal)
  await file.checkpoint.close()
  const {
    name: path,
    description: { config, diffusion },
  } = file
  if (config.kind !== 'unet' || config.superResolution)
    return fail(`${path}: --model takes the U-Net that draws images by itself.`)
  return {
    path,
    sha256: await sha256OfFile(path, signal),
    config: config as UNetConfig,
    ...(diffusion && { diffusion }),
  }
}

async function openExtractor(
  args: Arguments<Pick<typeof options, 'extractor' | 'extractor-preset'>>,
  process: NoiseProcess,
  signal: AbortSignal,
): Promise<{ file: ModelFile; config: ClassifierConfig & { kind: 'classifier' }; sha256: string } | null> {
  const extractor = args.get('extractor')
  if (extractor === undefined) return null
  const file = await openModel(extractor, { preset: args.get('extractor-preset') }, signal)
  const {
    name: path,
    description: { config, diffusion },
  } = file
  try {
    if (config.kind !== 'classifier') return fail(`${path}: --extractor takes an ADM classifier, found a U-Net.`)
    if (diffusion && !isSameNoise(diffusion, process))
      return fail(
        `${path}: a classifier of the noise "${noiseInWords(diffusion)}", but the model draws with ` +
          `"${noiseInWords(process)}": take one that was trained on the model's noise.`,
      )
    return { file, config, sha256: await sha256OfFile(path, signal) }
  } catch (error) {
    await file.checkpoint.close()
    throw error
  }
}
