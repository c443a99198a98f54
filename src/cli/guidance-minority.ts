/** Minority guidance from its file: the classifier's own metadata says which levels, noise and extractor are its. */
import { classifierGuidance, featureShape, minorityLogits, minorityMetadata, tiltedGuidance, uniformTargets, type MinorityMetadata } from '../diffusion/index.ts'
import { fail } from './arguments.ts'
import { checkPixels, checkProcess, classifierFile, load, needOf, type ClassifierFile, type Context, type OpenGuidance } from './guidance-files.ts'
import { cycled } from './options.ts'
import type { MinoritySettings } from './options-guidance.ts'

/** Eq. 8, 17 and 18 by a classifier of levels, on pixels or on an extractor's features. */
export async function openMinority(settings: MinoritySettings, context: Context): Promise<OpenGuidance> {
  const { file: path, scale, target } = settings
  const { labels, seed } = context.settings
  const file = await classifierFile('minority-classifier', path, settings.preset, context)
  const said = minorityMetadata(file.checkpoint.metadata, path)
  const { config } = file.description
  const levels = config.outChannels
  if (said && said.levels !== levels) fail(`${path}: says it has ${said.levels} minority levels, but its network has ${levels} classes.`)
  if (said) checkProcess(path, said, context.settings)
  const levelsOf = levelsOfSamples(path, said, levels, labels)
  const most = Math.min(...(labels.length > 0 ? labels.map((_, k) => levelsOf(k)) : [levels]))
  if (typeof target !== 'string' && target[1] >= most) fail(`--minority-target: the ${most < levels ? 'levels of a class that is asked for' : "classifier's levels"} are 0 to ${most - 1}, the last the rarest; found ${target[1]}.`)
  const tau = target === 'tilt' ? tauOf(path, said, levels, labels) : null
  const rangeOf = (k: number): readonly [number, number] => (typeof target === 'string' ? [levelsOf(k) - 1, levelsOf(k) - 1] : target)

  const extractor = await openExtractor(settings, file, said, context)
  return {
    needs: extractor ? [needOf(file, { batch: context.images.batch }), needOf(extractor, context.images)] : [needOf(file, context.images)],
    load: async (device, hold, signal) => {
      const classifier = hold(await load(device, file, signal))
      const features = extractor && hold(await load(device, extractor, signal))
      return {
        name: 'minority',
        lead: (samples, y) => {
          const logits = minorityLogits(classifier, { ...(features ? { extractor: features } : {}), ...(y ? { y } : {}) })
          if (target === 'tilt') return { guidance: tiltedGuidance(logits, { tau: samples.map((k) => (tau as TauOf)(k)), scale }) }
          const targets = samples.flatMap((k) => uniformTargets(rangeOf(k), { seed, samples: [k] }))
          return { guidance: classifierGuidance(logits, { target: targets, scale }), targets }
        },
      }
    },
  }
}

/** The extractor the classifier was trained on; null for one of pixels. */
async function openExtractor({ extractor: path, extractorPreset }: MinoritySettings, file: ClassifierFile, said: MinorityMetadata | null, context: Context): Promise<ClassifierFile | null> {
  const { config } = file.description
  if (path === null) {
    if (said?.extractor) fail(`${file.path}: reads the features of ${said.extractor.name}: --extractor FILE says where it is.`)
    checkPixels(file, context, ': does it read the features of a classifier? --extractor E.safetensors says of which')
    return null
  }
  const extractor = await classifierFile('extractor', path, extractorPreset, context)
  checkPixels(extractor, context)
  const { channels, side } = featureShape(extractor.description)
  if (config.inChannels !== channels || config.imageSize !== side) {
    fail(`${file.path}: takes ${config.inChannels}x${config.imageSize}x${config.imageSize}, but the features of ${path} are ${channels}x${side}x${side}: ` +
      `--extractor is the classifier it was trained on${said?.extractor ? `, ${said.extractor.name}` : ''}.`)
  }
  if (said && said.extractor === null) fail(`${file.path}: reads pixels; it was trained without --extractor.`)
  const found = await context.opener.hash('extractor')
  if (said?.extractor && said.extractor.sha256 !== found) {
    fail(`${file.path}: was trained on the features of ${said.extractor.name} (sha256 ${said.extractor.sha256}), but ${path} is another file (sha256 ${found}).`)
  }
  return extractor
}

/** tau of sample k. */
type TauOf = (k: number) => readonly number[]

/** How many levels the class of sample k has: those of the classifier, but where each class was cut into a number of its own. */
function levelsOfSamples(path: string, said: MinorityMetadata | null, levels: number, labels: readonly number[]): (k: number) => number {
  const rows = said?.within === 'class' ? said.thresholds as readonly (readonly number[])[] : []
  if (rows.every(({ length }) => length === 0 || length === levels)) return () => levels
  if (labels.length === 0) return fail(`${path}: its levels were cut within each class, and classes have different numbers of them: it needs a class-conditional model and --labels.`)
  return (k) => rows[cycled(labels, k)]?.length || levels
}

/** Eq. 18's tau: the thresholds of the labelling, those of the sample's class where it was made within classes. */
function tauOf(path: string, said: MinorityMetadata | null, levels: number, labels: readonly number[]): TauOf {
  if (!said) return fail(`${path}: --minority-tilt needs the thresholds of its levels, which this file does not have (metadata "minority"): tweedie train classifier writes them.`)
  const positive = (row: readonly number[]): readonly number[] =>
    row.every((q) => q > 0) ? row : fail(`${path}: --minority-tilt takes the logarithm of the thresholds, and the first is ${row[0]}: label with fewer levels.`)
  if (said.within === 'all') {
    const row = positive(said.thresholds as readonly number[])
    return () => row
  }
  if (labels.length === 0) return fail(`${path}: its labels were made within each class: --minority-tilt needs a class-conditional model and --labels.`)
  const rows = new Map(labels.map((label) => {
    const row = said.thresholds[label] as readonly number[] | undefined
    // A level that the class does not have weighs nothing: the exponential of its logarithm, -744, is 0 in 32 bits.
    return [label, row && row.length > 0 ? [...positive(row), ...new Array<number>(levels - row.length).fill(Number.MIN_VALUE)] : fail(`${path}: has no thresholds for class ${label}, of which it has seen no image.`)]
  }))
  return (k) => rows.get(cycled(labels, k)) as readonly number[]
}
