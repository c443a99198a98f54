import { TweedieError } from '../errors.ts'
import type { Device } from '../tensor/index.ts'
import { ballsAround, membership } from './balls.ts'
import { meanOf, type Measured } from './bootstrap.ts'
import { isCollapsed } from './check.ts'
import { copying } from './copying.ts'
import { coverage, density } from './density-coverage.ts'
import { eachBall, kNearest, type Balls } from './distances.ts'
import { densityCurves } from './density-curve.ts'
import { medianOf, Table } from './evaluation-table.ts'
import type {
  Distribution,
  EvaluatedSpace,
  EvaluationSettings,
  Measurement,
  MeasureName,
  PrecisionByRarity,
  ShownSample,
  ShownSamples,
} from './evaluation.ts'
import { extrapolateFrechet } from './extrapolate-frechet.ts'
import { frechetDistance, type FrechetDistance } from './frechet.ts'
import { inceptionScore } from './inception-score.ts'
import { kernelDistance } from './kernel-distance.ts'
import { crowded, lofFrom } from './local-outlier-factor.ts'
import { measureFrechet } from './measure-frechet.ts'
import { featureStatistics, type FeatureStatistics } from './moments.ts'
import { countOf, firstOf, type Neighbours, type Points, type SearchOptions } from './nearest.ts'
import { precision } from './precision.ts'
import { scored } from './rarity.ts'
import { realism } from './realism.ts'
import { rowsOf } from './rows.ts'

/** What a space sees of one set of images: rows in the set's order. */
export interface SpaceFeatures {
  /** The set, as messages call it. */
  readonly name: string
  readonly features: Points
  /** Of sFID, where the space has them. */
  readonly spatial?: Points | undefined
  /** Of the Inception Score, where the space has them. */
  readonly logits?: Points | undefined
  /** What an image is called. */
  readonly imageName: (index: number) => string
}

/** What {@link evaluateSpace} compares. */
export interface SpaceSets {
  readonly space: EvaluatedSpace
  /** The real images and how rare they are, or their statistics alone, to which there are Fréchet distances. */
  readonly real: RealFeatures | SetStatistics
  readonly methods: readonly SpaceFeatures[]
  /** Real images that the model was not trained on, for C_T. */
  readonly heldOut?: SpaceFeatures | undefined
}

/** Real images, and how rare they are. */
export interface RealFeatures extends SpaceFeatures {
  readonly rarity: RealRarity
  /**
   * Statistics to which the Fréchet distances are instead of to these images, as a reference batch has them of more
   * images than it holds. Default: those of the reference.
   */
  readonly stored?: SetStatistics | undefined
}

/** Statistics of a set of images, of its features and of those of sFID. */
export interface SetStatistics {
  readonly statistics: FeatureStatistics
  readonly spatialStatistics: FeatureStatistics | null
}

/** Options of {@link realRarity} and {@link evaluateSpace}. */
export interface EvaluateOptions extends EvaluationSettings {
  /** Rows of the real images that are the reference; default all. */
  readonly reference?: readonly number[] | undefined
  readonly signal?: AbortSignal | undefined
  /** Called with what is being done, and how much of it, 0 to 1. */
  readonly onProgress?: ((what: string, done: number) => void) | undefined
}

/** How rare each of N images is, and the real images nearest to it, of a real one others. */
export interface ImageRarity {
  /** `[N]`. */
  readonly avgknn: Float64Array
  /** `[N]`. */
  readonly lof: Float64Array
  /** `[N]`; 0 in no ball of a real image. */
  readonly rarity: Float64Array
  readonly nearest: Neighbours
}

/** Real images among each other. */
export interface RealRarity extends ImageRarity {
  /** A ball around each that reaches to its k-th nearest other one. */
  readonly balls: Balls
  /** The others that its LOF is by, and a sample's. */
  readonly lofNeighbours: Neighbours
}

/** A method's samples. */
export interface SampleNumbers extends ImageRarity {
  /** `[N]`: realism by the reference. */
  readonly realism: Float64Array
  /** `[N]`: how many balls of the reference hold each. */
  readonly inside: Uint32Array
}

/** What {@link evaluateSpace} found. Without real images there is a table alone. */
export interface SpaceEvaluation {
  readonly measurements: readonly Measurement[]
  readonly distributions: readonly Distribution[]
  readonly precisionByRarity: PrecisionByRarity | null
  readonly shown: readonly ShownSamples[]
  /** By method. */
  readonly samples: readonly SampleNumbers[]
  /** What Fréchet distances are of: the reference's, and by method, null of samples that all have the same features. */
  readonly statistics: { readonly reference: SetStatistics; readonly methods: readonly (SetStatistics | null)[] }
  readonly warnings: readonly string[]
}

/**
 * How rare each real image is among the others. AvgkNN and LOF leave it out of its neighbours, Rarity leaves out its
 * own ball.
 *
 * @throws TweedieError 'option' or 'non-finite', naming the set, for features that have no such numbers
 */
export async function realRarity(
  device: Device,
  real: SpaceFeatures,
  { name }: Pick<EvaluatedSpace, 'name'>,
  options: Pick<EvaluateOptions, 'k' | 'lofK' | 'signal' | 'onProgress'>,
): Promise<RealRarity> {
  const { k, lofK } = options
  checkSet(real, name, Math.max(k, lofK) + 1, `for their ${Math.max(k, lofK)} neighbours`)
  if (isCollapsed(real.features)) {
    throw new TweedieError(
      'option',
      `${real.name}: all ${countOf(real.features)} images have the same features in the space ${name}: are they ` +
        'copies of one, or constant?',
    )
  }
  const { features } = real
  const step = stepsOf(options, `${real.name} in ${name}`)
  const most = await kNearest(device, features, features, Math.max(k, lofK), {
    leaveOneOut: true,
    ...step('neighbours'),
  })
  const [nearest, lofNeighbours] = [firstOf(most, k), firstOf(most, lofK)]
  const lof = lofFrom(lofNeighbours, lofNeighbours)
  const balls = {
    centres: features,
    radii: Float64Array.from({ length: countOf(features) }, (_, i) => nearest.distances[i * k + k - 1]),
  }
  const rarity = new Float64Array(countOf(features))
  const visit = (i: number, j: number): void => {
    if (i !== j && (rarity[i] === 0 || balls.radii[j] < rarity[i])) rarity[i] = balls.radii[j]
  }
  await eachBall(device, features, balls, visit, step('balls'))
  return { avgknn: meansOf(nearest), lof, rarity, nearest, lofNeighbours, balls }
}

/** Rows of the `count` rarest, rarest first; of equally rare ones the lower row. */
export const rarestOf = (scores: ArrayLike<number>, count: number): number[] =>
  Array.from({ length: scores.length }, (_, i) => i)
    .sort((a, b) => scores[b] - scores[a] || a - b)
    .slice(0, count)

/**
 * Every measure of the methods' samples in one space. Precision, recall, density, coverage, realism, and the Fréchet
 * and kernel distances are to the reference; how rare a sample is, and which real image is nearest to it, is by all
 * real images.
 *
 * @throws TweedieError 'option', 'shape' or 'non-finite', naming set and space, for features that cannot be compared
 */
export async function evaluateSpace(
  device: Device,
  { space, real, methods, heldOut }: SpaceSets,
  options: EvaluateOptions,
): Promise<SpaceEvaluation> {
  const { k, reference: rows } = options
  const images = 'rarity' in real
  for (const set of methods) checkSet(set, space.name, images ? k + 1 : 2, images ? `for their ${k} neighbours` : '')
  if (heldOut) checkSet(heldOut, space.name, 2)
  const steps = (of: string): Steps => stepsOf(options, `${of} in ${space.name}`)
  const table = new Table(space.name, methods.length, options)
  const job: Job = { device, space, table, options, heldOut, warnings: [] }
  const collapsed = methods.map(({ features }) => isCollapsed(features))
  methods.forEach(({ name, features }, m) => {
    if (!collapsed[m]) return
    job.warnings.push(
      `${name} in ${space.name}: all ${countOf(features)} samples have the same features, as copies of one or ` +
        `constant images have: there is no Fréchet distance${images ? ', KID or C_T, and recall is 0' : ''}.`,
    )
  })
  const scores = async (): Promise<void> => {
    for (const [m, { name, logits }] of methods.entries()) {
      if (!logits || collapsed[m]) continue
      await table.set('inceptionScore', m, await inceptionScore(logits, steps(name)('Inception Score')))
    }
  }
  const found = { distributions: [], precisionByRarity: null, shown: [], samples: [], warnings: job.warnings }
  if (!images) {
    const { statistics, spatialStatistics } = real
    const to = { features: { statistics }, spatial: spatialStatistics && { statistics: spatialStatistics } }
    const known: (SetStatistics | null)[] = []
    for (const [m, set] of methods.entries())
      known.push(collapsed[m] ? null : await frechet(job, m, set, to, steps(set.name)))
    await scores()
    return { ...found, measurements: table.rows(), statistics: { reference: real, methods: known } }
  }

  const part = (points: Points): Points => (rows ? rowsOf(points, rows) : points)
  const balls = rows
    ? await ballsAround(device, part(real.features), { k, ...steps('the reference')('balls') })
    : real.rarity.balls
  const target = async (
    points: Points,
    stored: FeatureStatistics | null | undefined,
    what: string,
  ): Promise<FrechetTarget> =>
    stored
      ? { statistics: stored }
      : { points, statistics: await featureStatistics(points, steps('the real images')(what)) }
  const { stored } = real
  const reference = {
    features: await target(balls.centres, stored?.statistics, 'statistics'),
    spatial: real.spatial ? await target(part(real.spatial), stored?.spatialStatistics, 'spatial statistics') : null,
  }
  await table.real('avgknn', meanOf(real.rarity.avgknn))
  const copies = crowded(real.features, options.lofK)
  if (copies > 0) {
    job.warnings.push(
      `${space.name}: ${copies} real images are copies of one another, more than the ${options.lofK} neighbours of ` +
        'LOF: its mean is not meaningful, and the table has the median.',
    )
    table.putReal('lof', await medianOf(real.rarity.lof, options))
  } else await table.real('lof', meanOf(real.rarity.lof))
  await table.real('rarity', meanOfSome(scored(real.rarity.rarity)))
  await table.real('copies', counted(copiesIn(real.rarity.nearest)))
  if (heldOut) await warnOfShared(job, heldOut, real)
  await table.real('outside', outside(real.rarity.rarity))
  const samples: SampleNumbers[] = []
  const known: (SetStatistics | null)[] = []
  for (const [m, set] of methods.entries()) {
    const step = steps(set.name)
    const numbers = await compare(job, m, set, real, balls, step)
    samples.push(numbers)
    if (copies > 0) table.put('lof', m, await medianOf(numbers.lof, options))
    else await table.set('lof', m, meanOf(numbers.lof))
    known.push(collapsed[m] ? null : await frechet(job, m, set, reference, step))
  }
  await scores()
  const distribution = (of: 'avgknn' | 'lof' | 'rarity'): Distribution => {
    const values = [real.rarity, ...samples].map((numbers) => (of === 'rarity' ? scored(numbers.rarity) : numbers[of]))
    return distributionOf(of, space.name, values)
  }
  return {
    ...found,
    measurements: table.rows(),
    distributions: [distribution('avgknn'), distribution('lof'), distribution('rarity')],
    precisionByRarity: { space: space.name, methods: samples.map(({ avgknn, inside }) => grouped(avgknn, inside)) },
    shown: samples.map((numbers, method) => ({ space: space.name, method, ...toShow(methods[method], real, numbers) })),
    samples,
    statistics: {
      reference: {
        statistics: reference.features.statistics,
        spatialStatistics: reference.spatial?.statistics ?? null,
      },
      methods: known,
    },
  }
}

/** Densities of what the real images and then each method have. */
export function distributionOf(
  of: Distribution['of'],
  space: string | null,
  values: readonly ArrayLike<number>[],
): Distribution {
  const {
    grid,
    curves: [real, ...methods],
  } = densityCurves(values)
  return { of, space, grid, real, methods }
}

/** What all parts of one space's evaluation share. */
interface Job {
  readonly device: Device
  readonly space: EvaluatedSpace
  readonly table: Table
  readonly options: EvaluateOptions
  readonly heldOut: SpaceFeatures | undefined
  readonly warnings: string[]
}

/** All but the Fréchet distances and the Inception Score. */
async function compare(
  { device, space, table, options, heldOut, warnings }: Job,
  method: number,
  { name, features }: SpaceFeatures,
  real: RealFeatures,
  balls: Balls,
  step: Steps,
): Promise<SampleNumbers> {
  const { k, lofK, seed } = options
  const most = await kNearest(device, features, real.features, Math.max(k, lofK), step('nearest real images'))
  const nearest = firstOf(most, k)
  const avgknn = meansOf(nearest)
  const lof = lofFrom(real.rarity.lofNeighbours, firstOf(most, lofK))
  const among = await membership(device, features, real.rarity.balls, step('balls of real images'))
  const whole = balls === real.rarity.balls
  const inside = whole ? among : await membership(device, features, balls, step('balls of the reference'))
  const realisms = await realism(device, features, balls, step('realism'))
  const set = (measure: MeasureName, measured: Measured | null): Promise<void> => table.set(measure, method, measured)
  const collapsed = isCollapsed(features)
  if (!collapsed) {
    const kid = await kernelDistance(device, features, balls.centres, { seed, ...step('KID') })
    await set('kid', kid)
    for (const warning of kid.warnings) warnings.push(`${name} in ${space.name}: ${warning}`)
  }
  await set('precision', precision(inside))
  if (collapsed) {
    // Balls of radius 0 hold nothing.
    await set('recall', meanOf(new Float64Array(countOf(balls.centres))))
  } else {
    const own = await ballsAround(device, features, { k, ...step('balls') })
    await set('recall', precision(await membership(device, balls.centres, own, step('recall'))))
  }
  await set('density', density(inside, k))
  await set('coverage', coverage(inside))
  const median = await medianOf(realisms, options)
  if (median) table.put('realism', method, median)
  const copies = copiesIn(nearest)
  await set('copies', counted(copies))
  if (copies > 0) {
    const found = `${copies} of ${countOf(features)} samples are exact copies of real images (distance 0)`
    warnings.push(`${name} in ${space.name}: ${found}${median ? '' : ', so that there is no median of realism'}.`)
  }
  await set('avgknn', meanOf(avgknn))
  await set('rarity', meanOfSome(scored(among.smallest)))
  await set('outside', outside(among.smallest))
  if (heldOut && !collapsed) {
    try {
      const found = await copying(device, features, heldOut.features, real.features, { seed, ...step('C_T') })
      // Where all samples are nearer than all held-out images, or all farther, no resample is another.
      const alike = found.influences.every((items) => items.every((item) => item === items[0]))
      await set('copying', alike ? { ...found, influences: [] } : found)
    } catch (error) {
      if (!(error instanceof TweedieError) || error.code !== 'option') throw error
      warnings.push(`${name} in ${space.name}: there is no C_T: ${error.message}`)
    }
  }
  return { avgknn, lof, rarity: among.smallest, nearest, realism: realisms, inside: inside.counts }
}

type Steps = (what: string) => SearchOptions

/** The options of each step, whose progress is told under its name. */
const stepsOf =
  ({ signal, onProgress }: Pick<EvaluateOptions, 'signal' | 'onProgress'>, where: string): Steps =>
  (what) => ({ signal, onProgress: (done) => onProgress?.(`${where}: ${what}`, done) })

/** What Fréchet distances are of, and to. */
interface FrechetTarget {
  readonly statistics: FeatureStatistics
  /** Of which they are; absent where there are statistics alone. */
  readonly points?: Points
}

/** The Fréchet distances of one method, and what there is to say against them; gives the statistics they are of. */
async function frechet(
  { device, space, table, options, warnings }: Job,
  method: number,
  { name, features, spatial }: SpaceFeatures,
  to: { readonly features: FrechetTarget; readonly spatial: FrechetTarget | null },
  step: Steps,
): Promise<SetStatistics> {
  const warn = (warning: string): void => void warnings.push(`${name} in ${space.name}: ${warning}`)
  const warnOfRanks = ({ warnings: found, ranks, dimension }: FrechetDistance, of = ''): void => {
    for (const [i, warning] of found.entries()) {
      const ofReal = ranks[1] < dimension && i === found.length - 1
      if (!ofReal) warn(`${of}${warning}`)
      else if (!warnings.includes(`${space.name}: ${of}${warning}`)) warnings.push(`${space.name}: ${of}${warning}`)
    }
  }
  const statistics = await featureStatistics(features, step('statistics'))
  const found = await toTarget(device, { points: features, statistics }, to.features, options, step('Fréchet distance'))
  await table.set('frechet', method, found)
  warnOfRanks(found)
  // The smallest set that is extrapolated from has a fifth of the samples, and below the dimension no full rank.
  const enough = Math.max(10, 5 * (found.dimension + 1))
  if (countOf(features) < enough) {
    warn(
      `there is no extrapolated Fréchet distance: it takes ${enough.toLocaleString('en')} samples or more, and there ` +
        `are ${countOf(features).toLocaleString('en')}.`,
    )
  } else {
    const { influences } = found
    const extrapolating = { seed: options.seed, influences, ...step('Fréchet distance, extrapolated') }
    await table.set(
      'frechetExtrapolated',
      method,
      await extrapolateFrechet(features, to.features.statistics, extrapolating),
    )
  }
  if (!spatial || !to.spatial) return { statistics, spatialStatistics: null }
  const maps = { points: spatial, statistics: await featureStatistics(spatial, step('spatial statistics')) }
  const ofMaps = await toTarget(device, maps, to.spatial, options, step('spatial Fréchet distance'))
  await table.set('spatialFrechet', method, ofMaps)
  warnOfRanks(ofMaps, 'spatial features: ')
  return { statistics, spatialStatistics: maps.statistics }
}

/** With what an interval is made of, which takes longer, where one is wanted. */
async function toTarget(
  device: Device,
  samples: Required<FrechetTarget>,
  { statistics, points }: FrechetTarget,
  { resamples }: EvaluateOptions,
  options: SearchOptions,
): Promise<FrechetDistance & Measured> {
  const known = { samples: samples.statistics, real: statistics }
  if (resamples > 0)
    return measureFrechet(device, samples.points, points ?? statistics, { statistics: known, ...options })
  const found = await frechetDistance(samples.statistics, statistics, options)
  return { ...found, influences: [] }
}

/** Refuses what no measure can say anything about, by the name of its set. */
function checkSet({ name, features, imageName }: SpaceFeatures, space: string, least: number, why = ''): void {
  const { data, dimension } = features
  const count = countOf(features)
  if (count < least) {
    throw new TweedieError(
      'option',
      `${name}: expected at least ${[least, 'images', why].join(' ').trim()}, found ${count}.`,
    )
  }
  const bad = data.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) {
    throw new TweedieError(
      'non-finite',
      `${name}: image ${imageName(Math.floor(bad / dimension))} has ${data[bad]} among its features in the space ` +
        `${space}: the network overflows, or its weights are damaged.`,
    )
  }
}

/** The mean distance to the neighbours: AvgkNN. */
const meansOf = ({ k, distances }: Neighbours): Float64Array =>
  Float64Array.from(
    { length: distances.length / k },
    (_, i) => distances.subarray(i * k, (i + 1) * k).reduce((a, b) => a + b) / k,
  )

/** How many have a real image at distance 0, of real images another one. */
const copiesIn = ({ k, distances }: Neighbours): number =>
  distances.reduce((count, distance, i) => (i % k === 0 && distance === 0 ? count + 1 : count), 0)

/** A count, which has no interval. */
const counted = (value: number): Measured => ({ value, influences: [] })

/** Held-out images that are among the real ones are as near as copies are, and hide those from C_T. */
async function warnOfShared(
  { device, space, options, warnings }: Job,
  heldOut: SpaceFeatures,
  real: SpaceFeatures,
): Promise<void> {
  const step = stepsOf(options, `${heldOut.name} in ${space.name}`)
  const shared = copiesIn(await kNearest(device, heldOut.features, real.features, 1, step('nearest real images')))
  if (shared === 0) return
  warnings.push(
    `${heldOut.name} in ${space.name}: ${shared} of ${countOf(heldOut.features)} images are among the real ones too ` +
      '(distance 0), which hides copies from C_T: hold out others.',
  )
}

/** The part in no ball, of which the Rarity Score is 0. */
const outside = (rarity: Float64Array): Measured => meanOf(rarity.map((radius) => (radius > 0 ? 0 : 1)))

const meanOfSome = (items: Float64Array): Measured | null => (items.length === 0 ? null : meanOf(items))

/** Groups of a plot of precision by rarity. */
const groups = 10

function grouped(avgknn: Float64Array, inside: Uint32Array): PrecisionByRarity['methods'][number] {
  const order = rarestOf(avgknn, avgknn.length).reverse()
  const n = Math.min(groups, order.length)
  return Array.from({ length: n }, (_, g) => {
    const members = order.slice(Math.floor((g * order.length) / n), Math.floor(((g + 1) * order.length) / n))
    const mean = (of: (i: number) => number): number => members.reduce((sum, i) => sum + of(i), 0) / members.length
    return { avgknn: mean((i) => avgknn[i]), precision: mean((i) => (inside[i] > 0 ? 1 : 0)) }
  })
}

/** Samples shown of each kind, and the real neighbours beside each. */
const [shownSamples, shownNeighbours] = [12, 3]

function toShow(
  set: SpaceFeatures,
  real: SpaceFeatures,
  { avgknn, nearest: { k, indices, distances } }: ImageRarity,
): Pick<ShownSamples, 'mostDense' | 'leastDense' | 'nearest'> {
  const sample = (index: number): ShownSample => ({
    index,
    name: set.imageName(index),
    avgknn: avgknn[index],
    nearest: Array.from({ length: Math.min(k, shownNeighbours) }, (_, i) => {
      const row = indices[index * k + i]
      return { index: row, name: real.imageName(row), distance: distances[index * k + i] }
    }),
  })
  const first = avgknn.map((_, i) => -distances[i * k])
  return {
    mostDense: rarestOf(
      avgknn.map((value) => -value),
      shownSamples,
    ).map(sample),
    leastDense: rarestOf(avgknn, shownSamples).map(sample),
    nearest: rarestOf(first, shownSamples).map(sample),
  }
}
