import { encodeNpz, npzNames, readNpz, type NpyArray } from '../data/index.ts'
import { TweedieError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { factor } from './double.ts'
import type { EvaluatedSpace } from './evaluation.ts'
import type { FeatureStatistics } from './moments.ts'
import { pacer } from './pace.ts'

/** What a statistics file holds. */
export interface StatisticsFile {
  readonly name: string
  readonly features: FeatureStatistics
  /** Of the features of sFID; null where the file has none. */
  readonly spatial: FeatureStatistics | null
  /** In which space they were taken; null in the files of others, which do not say. */
  readonly space: Pick<EvaluatedSpace, 'name' | 'preprocessing' | 'weights'> | null
}

/** NumPy's names of the arrays, as pytorch-fid, clean-fid and guided-diffusion's evaluator have them. */
const arrayNames = { features: ['mu', 'sigma'], spatial: ['mu_s', 'sigma_s'] } as const
const spaceNames = ['space', 'preprocessing', 'weights'] as const

/** Whether an .npz holds statistics and no images. Throws 'format' for what is no .npz. */
export async function isStatistics(source: ByteSource, signal?: AbortSignal): Promise<boolean> {
  const names = await npzNames(source, signal)
  return names.includes('mu') && !['images', 'arr_0'].some((name) => names.includes(name))
}

/**
 * The statistics in an .npz of images that has them too, as guided-diffusion's reference batches; null where it has
 * none. A `sigma` that is no matrix is a number of each image.
 */
export async function statisticsBesideImages(source: ByteSource, signal?: AbortSignal): Promise<StatisticsFile | null> {
  const names = await npzNames(source, signal)
  if (!arrayNames.features.every((name) => names.includes(name)) || (await isStatistics(source, signal))) return null
  const sigma = (await readNpz(source, ['sigma'], signal)).get('sigma')
  return sigma?.shape.length === 2 ? readStatistics(source, signal) : null
}

/**
 * Reads `mu` and `sigma`, and `mu_s` and `sigma_s` where they are there: pytorch-fid's and clean-fid's statistics,
 * guided-diffusion's reference batches (whose images are not read) and those of {@link encodeStatistics}.
 *
 * @throws TweedieError 'format', naming the file, where they are missing, of shapes that do not fit, no numbers, or
 *   a covariance is none: not symmetric, or not positive semidefinite
 */
export async function readStatistics(source: ByteSource, signal?: AbortSignal): Promise<StatisticsFile> {
  const wanted = [...Object.values(arrayNames).flat(), ...spaceNames]
  const arrays = await readNpz(source, wanted, signal)
  const features = await momentsIn(source.name, arrays, arrayNames.features, signal)
  if (!features) {
    throw new TweedieError(
      'format',
      `${source.name}: expected statistics, the arrays mu [D] and sigma [D, D], ` +
        `found ${(await npzNames(source, signal)).join(', ') || 'none'}.`,
    )
  }
  const [name, preprocessing, weights] = spaceNames.map((key) => arrays.get(key)?.data[0])
  const told = typeof name === 'string' && typeof preprocessing === 'string' && typeof weights === 'string'
  return {
    name: source.name,
    features,
    spatial: await momentsIn(source.name, arrays, arrayNames.spatial, signal),
    space: told ? { name, preprocessing, weights } : null,
  }
}

/** The bytes of an .npz of statistics, which says beside the arrays that others read in which space they were taken. */
export const encodeStatistics = ({ features, spatial, space }: Omit<StatisticsFile, 'name'>): Uint8Array<ArrayBuffer> =>
  encodeNpz({
    ...arraysOf(features, arrayNames.features),
    ...(spatial && arraysOf(spatial, arrayNames.spatial)),
    ...(space && { space: text(space.name), preprocessing: text(space.preprocessing), weights: text(space.weights) }),
  })

const text = (word: string): { shape: []; data: [string] } => ({ shape: [], data: [word] })

const arraysOf = (
  { mean, covariance }: FeatureStatistics,
  [mu, sigma]: readonly [string, string],
): Parameters<typeof encodeNpz>[0] => ({
  [mu]: { shape: [mean.length], data: mean },
  [sigma]: { shape: [mean.length, mean.length], data: covariance },
})

async function momentsIn(
  name: string,
  arrays: ReadonlyMap<string, NpyArray>,
  [mu, sigma]: readonly [string, string],
  signal?: AbortSignal,
): Promise<FeatureStatistics | null> {
  const [mean, covariance] = [arrays.get(mu), arrays.get(sigma)]
  if (!mean || !covariance) return null
  const [d] = mean.shape
  if (mean.shape.length !== 1 || covariance.shape.length !== 2 || covariance.shape.some((n) => n !== d)) {
    throw new TweedieError(
      'format',
      `${name}: expected ${mu} of shape [D] and ${sigma} of shape [D, D], ` +
        `found [${mean.shape.join(', ')}] and [${covariance.shape.join(', ')}].`,
    )
  }
  const values = numbersOf(name, sigma, covariance)
  const wrong = await faultOf(values, d, signal)
  if (wrong) throw new TweedieError('format', `${name}: ${sigma} is not ${wrong}.`)
  return { mean: numbersOf(name, mu, mean), covariance: values }
}

/**
 * What a covariance is and this matrix is not. Numbers may have been rounded to single precision, each by 2^-24 of the
 * largest at most, which moves an eigenvalue by no more than n times that (Weyl's inequality, with Frobenius' norm).
 */
async function faultOf(covariance: Float64Array, n: number, signal?: AbortSignal): Promise<string | null> {
  const rounding = 2 ** -24 * covariance.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [covariance[i * n + j], covariance[j * n + i]]
      if (Math.abs(below - above) > 2 * rounding)
        return `symmetric, as a covariance is: [${i}, ${j}] is ${below} and [${j}, ${i}] is ${above}`
    }
  }
  const least = n * rounding
  const said = 'positive semidefinite, as a covariance is'
  const negative = Array.from({ length: n }, (_, i) => i).find((i) => covariance[i * n + i] < -least)
  if (negative !== undefined)
    return `${said}: its variance ${negative} is ${covariance[negative * n + negative].toPrecision(3)}`
  // With so much on the diagonal all eigenvalues are above 0, and the factor has full rank, unless one was below.
  const lifted = covariance.slice()
  for (let i = 0; i < n; i++) lifted[i * n + i] += least
  const { rank } = await factor(lifted, n, pacer({ signal }))
  return rank < n && least > 0 ? `${said}: it has an eigenvalue below ${(-least).toPrecision(3)}` : null
}

function numbersOf(name: string, key: string, { data, dtype }: NpyArray): Float64Array {
  if (!(data instanceof Float64Array))
    throw new TweedieError('format', `${name}: expected ${key} of floating-point numbers, found ${dtype}.`)
  const bad = data.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) throw new TweedieError('format', `${name}: expected finite numbers, found ${data[bad]} in ${key}.`)
  return data
}
