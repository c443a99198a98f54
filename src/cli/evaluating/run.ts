/** What `tweedie evaluate` does once its sets are open: one space after another, all features of one at a time. */
import {
  bootstrapInterval,
  evaluateBrightness,
  evaluateSpace,
  featureStatistics,
  rarestOf,
  realRarity,
  spaceMemoryOf,
  type Estimate,
  type EvaluatedSet,
  type EvaluatedSpace,
  type Evaluation,
  type EvaluationSettings,
  type Measurement,
  type RarityName,
  type RealRarity,
  type SetStatistics,
  type SpaceEvaluation,
  type SpaceFeatures,
  type StatisticsFile,
} from '../../metrics/index.ts'
import type { DeviceNeed } from '../../tensor/index.ts'
import { fail } from '../arguments.ts'
import { slowProgress } from '../progress.ts'
import type { Session } from '../session.ts'
import { version } from '../../version.ts'
import { classifierAnswers, type ClassifierAnswers } from './accuracy.ts'
import { sizeText, type EvaluationSets, type NamedSet, type NamedStatistics } from './sets.ts'
import { aboutOf, featuresIn, openNamedSpace, type SpaceWord } from './spaces.ts'
import type { ImageTable } from './tables.ts'

export interface EvaluationJob {
  readonly sets: EvaluationSets
  readonly words: readonly SpaceWord[]
  readonly settings: EvaluationSettings
  /** Which real images are the reference; null: all. */
  readonly choice: Choice | null
  /** A classifier of the samples' classes. */
  readonly classifier: string | undefined
  /** Whether statistics of every set and space are wanted. */
  readonly statistics: boolean
}

interface Choice {
  /** A part below 1, or how many. */
  readonly rarest: number
  readonly by: RarityName
  /** Of the real images, for `score`. */
  readonly scores: Float64Array | undefined
}

export interface Evaluated {
  readonly evaluation: Evaluation
  readonly tables: readonly ImageTable[]
  readonly realName: (index: number) => string
  readonly statistics: readonly { readonly name: string; readonly file: Omit<StatisticsFile, 'name'> }[]
}

/** What was found in one space. */
interface InSpace {
  readonly about: EvaluatedSpace
  readonly found: Omit<SpaceEvaluation, 'statistics'>
  readonly real: RealRarity | null
  readonly statistics: Evaluated['statistics']
}

/** Opens the spaces one after another. Errors name the set, the image and the space. */
export async function evaluateSets(job: EvaluationJob, { signal, requestDevice }: Session): Promise<Evaluated> {
  const { sets, words, settings, choice } = job
  const { methods, heldOut } = sets
  const real = 'set' in sets.real ? sets.real : null
  const count = checkCounts(sets, settings, choice?.rarest)
  const bars = stepBars()
  const options = { ...settings, signal, onProgress: bars.update }
  const warnings = sizeWarnings(sets)
  if (job.statistics && words.some(({ name }) => name === 'pixels')) {
    warnings.push(
      'Statistics of pixels are not written: the space is fitted to these real images, and to compare with them ' +
        'takes the images.',
    )
  }
  const spaces: InSpace[] = []
  try {
    using device = await requestDevice({ signal, need: largestNeed(words) })
    let reference = choice?.scores && count !== null ? rarestOf(choice.scores, count) : undefined
    for (const word of words) {
      using space = await openNamedSpace(device, word, real?.set ?? null, signal)
      const about = aboutOf(space)
      const made: SpaceFeatures[] = []
      for (const method of methods) made.push(await featuresIn(space, method, signal))
      const held = heldOut ? await featuresIn(space, heldOut, signal) : undefined
      const reals = real && (await featuresIn(space, real, signal))
      const rarity = reals && (await realRarity(device, reals, about, options))
      if (rarity && choice && choice.by !== 'score' && count !== null) reference ??= rarestOf(rarity[choice.by], count)
      const stored = real && storedIn(real, about, choice !== null, warnings)
      const compared =
        'file' in sets.real
          ? statisticsIn(sets.real, about, warnings)
          : { ...reals!, rarity: rarity!, ...(stored && { stored }) }
      const asked = { space: about, methods: made, heldOut: held, real: compared }
      const { statistics, ...found } = await evaluateSpace(device, asked, { ...options, reference })
      const kept: NamedSetStatistics[] = []
      if (job.statistics && about.name !== 'pixels') {
        if (reals) kept.push(await statisticsOf(reals, reference || stored ? undefined : statistics.reference, signal))
        for (const [m, set] of made.entries()) kept.push(await statisticsOf(set, statistics.methods[m], signal))
      }
      spaces.push({ about, found, real: rarity, statistics: statisticsFiles(about, kept) })
    }
    const bright = await evaluateBrightness(
      real?.set ?? null,
      methods.map(({ set }) => set),
      options,
    )
    const answers = job.classifier ? await classifierAnswers(device, job.classifier, methods, real, signal) : null
    const right = await accuracyTable(answers, options)
    for (const [m, measured] of (answers?.methods ?? []).entries()) {
      if (!measured)
        warnings.push(`${methods[m].name}: there is no accuracy of images without labels (an .npz has them).`)
    }
    const found = spaces.map((space) => space.found)
    const evaluation: Evaluation = {
      program: 'tweedie',
      kind: 'evaluation',
      version,
      real: plain(sets.real),
      heldOut: heldOut && plain(heldOut),
      reference: {
        images: count ?? sets.real.images,
        by: choice?.by ?? null,
        space: choice && choice.by !== 'score' ? spaces[0].about.name : null,
      },
      methods: methods.map(plain),
      spaces: spaces.map(({ about }) => about),
      ...(answers && { classifier: answers.about }),
      settings,
      measurements: [...found.flatMap(({ measurements }) => measurements), ...bright.measurements, ...right],
      distributions: [
        ...found.flatMap(({ distributions }) => distributions),
        ...(bright.distribution ? [bright.distribution] : []),
      ],
      precisionByRarity: found.flatMap(({ precisionByRarity }) => precisionByRarity ?? []),
      shown: found.flatMap(({ shown }) => shown),
      warnings: [...warnings, ...found.flatMap((one) => one.warnings)],
    }
    const tables = methods.map((method, m) =>
      imageTable(
        method,
        bright.samples[m],
        found.flatMap(({ samples }) => samples[m] ?? []),
      ),
    )
    if (real && bright.real)
      tables.push(
        imageTable(
          real,
          bright.real,
          spaces.flatMap((space) => space.real ?? []),
        ),
      )
    return {
      evaluation,
      tables,
      realName: (i) => real?.set.imageName(i) ?? '',
      statistics: spaces.flatMap(({ statistics }) => statistics),
    }
  } finally {
    bars.stop()
  }
}

/** Of the spaces, which are opened one after another. */
const largestNeed = (words: readonly SpaceWord[]): DeviceNeed | undefined =>
  words
    .flatMap(({ name }) => spaceMemoryOf(name) ?? [])
    .sort((a, b) => b.bytes - a.bytes)
    .at(0)

/** The row of a classifier's accuracy. */
async function accuracyTable(answers: ClassifierAnswers | null, options: EvaluationSettings): Promise<Measurement[]> {
  const { resamples, confidence, seed } = options
  const values: (Estimate | null)[] = []
  for (const measured of answers ? [answers.real, ...answers.methods] : []) {
    if (!measured) values.push(null)
    else if (resamples === 0) values.push({ value: measured.value, low: null, high: null })
    else values.push({ value: measured.value, ...(await bootstrapInterval(measured, { resamples, confidence, seed })) })
  }
  if (values.every((value) => value === null)) return []
  const [real, ...ofMethods] = values
  return [{ measure: 'accuracy', space: null, values: ofMethods, real }]
}

const imageTable = ({ name, set }: NamedSet, brightness: Float64Array, spaces: ImageTable['spaces']): ImageTable => ({
  name,
  count: set.length,
  imageName: (index) => set.imageName(index),
  brightness,
  spaces,
})

interface NamedSetStatistics {
  readonly name: string
  /** Null of samples that all have the same features, which a warning says. */
  readonly of: SetStatistics | null
}

function statisticsFiles(space: EvaluatedSpace, sets: readonly NamedSetStatistics[]): Evaluated['statistics'] {
  return sets.flatMap(({ name, of }) => {
    if (!of) return []
    const file = { features: of.statistics, spatial: of.spatialStatistics, space }
    return [{ name: `${name.replaceAll(/[^\w.-]+/g, '-')}-${space.name}`, file }]
  })
}

/** Of a whole set: what is known of it already, where that is all; of the rarest real images alone it is not. */
async function statisticsOf(
  { name, features, spatial }: SpaceFeatures,
  known: SetStatistics | null | undefined,
  signal: AbortSignal,
): Promise<NamedSetStatistics> {
  if (known === null || (known && (known.spatialStatistics || !spatial))) return { name, of: known }
  const of = {
    statistics: known?.statistics ?? (await featureStatistics(features, { signal })),
    spatialStatistics: spatial ? await featureStatistics(spatial, { signal }) : null,
  }
  return { name, of }
}

const plain = ({ name, path, images, fingerprint, leftOut }: EvaluatedSet): EvaluatedSet => ({
  name,
  path,
  images,
  fingerprint,
  ...(leftOut && { leftOut }),
})

/** How many real images are the reference. Refuses sets in which an image has too few neighbours. */
function checkCounts(
  { methods, real, heldOut }: EvaluationSets,
  { k, lofK }: EvaluationSettings,
  rarest?: number,
): number | null {
  const refuse = (name: string, found: number, least: number, why: string): never =>
    fail(`${name}: expected at least ${least} ${why}, found ${found}.`)
  const images = 'set' in real ? real.set : null
  const neighbours = (count: number, option: string): string => `for their ${count} neighbours (${option} ${count})`
  const least = images ? k + 1 : 2
  for (const { name, set } of methods) {
    if (set.length < least) refuse(name, set.length, least, images ? `images, ${neighbours(k, '--k')}` : 'images')
  }
  if (heldOut && heldOut.set.length < 2) refuse(heldOut.name, heldOut.set.length, 2, 'images')
  if (!images) return null
  const most = Math.max(k, lofK)
  if (images.length <= most)
    refuse('real', images.length, most + 1, `images, ${neighbours(most, k < lofK ? '--lof-k' : '--k')}`)
  if (rarest === undefined) return null
  if (rarest > images.length) fail(`--rarest ${rarest}: there are ${images.length} real images.`)
  const count = rarest < 1 ? Math.round(rarest * images.length) : rarest
  if (count <= k) refuse(`--rarest ${rarest}`, count, k + 1, `real images, ${neighbours(k, '--k')}`)
  return count
}

/** Statistics in a space that they can be of. */
function statisticsIn(
  { file, path }: Pick<NamedStatistics, 'file' | 'path'>,
  space: EvaluatedSpace,
  warnings: string[],
): SetStatistics {
  const { features, spatial, space: taken } = file
  const other = taken && (['name', 'preprocessing', 'weights'] as const).find((key) => taken[key] !== space[key])
  if (other) {
    fail(
      `${path}: statistics of another space: expected the ${other === 'name' ? 'space' : other} ${space[other]}, ` +
        `found ${taken[other]}.`,
    )
  }
  if (features.mean.length !== space.dimension) {
    fail(
      `${path}: statistics of another space: expected ${space.dimension} numbers in mu, as ${space.name} has, ` +
        `found ${features.mean.length}.`,
    )
  }
  if (!taken)
    warnings.push(
      `${path} does not say in which space its statistics were taken: they compare only if weights and preprocessing ` +
        `are those of ${space.name} here.`,
    )
  return { statistics: features, spatialStatistics: spatial }
}

/** The space of the statistics that guided-diffusion's reference batches hold. */
const referenceBatches = 'inception-legacy-tensorflow'

/**
 * Statistics in the real images' own file, where they are of this space and of the reference. Warns of what is by them,
 * and of where they are not used.
 */
function storedIn(
  { stored, path }: NamedSet,
  space: EvaluatedSpace,
  rarest: boolean,
  warnings: string[],
): SetStatistics | null {
  if (!stored) return null
  const taken = stored.space?.name ?? referenceBatches
  const unused = taken !== space.name ? `they are of ${taken}` : rarest ? '--rarest takes a part of the images' : null
  if (unused) {
    warnings.push(`${space.name}: mu and sigma in ${path} are not used, since ${unused}: all is by its images.`)
    return null
  }
  const found = statisticsIn({ file: stored, path }, space, [])
  warnings.push(
    `${space.name}: Fréchet distances are to ${found.spatialStatistics ? 'mu, sigma, mu_s and sigma_s' : 'mu and sigma'} ` +
      `in ${path}, all else is by its images.`,
  )
  return found
}

/** Sets that differ in what measures depend on. */
function sizeWarnings({ methods, real, heldOut }: EvaluationSets): string[] {
  const warnings: string[] = []
  for (const { name, images, leftOut } of ['set' in real ? real : null, heldOut, ...methods].flatMap((s) => s ?? []))
    if (leftOut)
      warnings.push(
        `${name}: ${leftOut.length} files that cannot be read as images were left out, ${images} are measured: ` +
          `${leftOut.slice(0, 4).join(', ')}${leftOut.length > 4 ? ', …' : ''}.`,
      )
  const sets = ['set' in real ? real : null, heldOut, ...methods].filter((set) => set !== null)
  const sizes = sets.map(({ name, set }) => `${name} ${sizeText(set, 0)}`)
  if (new Set(sets.map(({ set }) => sizeText(set, 0))).size > 1) {
    warnings.push(`The images are not of one size (${sizes.join(', ')}): part of every distance is that.`)
  }
  if (new Set(methods.map(({ images }) => images)).size > 1) {
    const counts = methods.map(({ name, images }) => `${name} ${images}`).join(', ')
    warnings.push(
      `The methods have different numbers of samples (${counts}), on which Fréchet distance, recall and coverage ` +
        'depend: compare equally many.',
    )
  }
  return warnings
}

/** A bar for each step that takes longer than a moment. */
function stepBars(): { update(what: string, done: number): void; stop(): void } {
  let at = ''
  let bar: ReturnType<typeof slowProgress> | undefined
  return {
    update(what, done) {
      if (what !== at) {
        bar?.stop()
        bar = slowProgress(what, '%')
        at = what
      }
      bar?.update(Math.floor(100 * done), 100)
    },
    stop: () => bar?.stop(),
  }
}
