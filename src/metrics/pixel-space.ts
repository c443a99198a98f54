import { commonSize, evenlySpaced, imageBatch, subset, type ImageSet } from '../data/index.ts'
import { TweedieError } from '../errors.ts'
import { matmul, sub, type Device } from '../tensor/index.ts'
import { rowsOf, type FeatureSpace, type Rows, type SpaceOptions } from './feature-space.ts'
import { principalComponents } from './principal.ts'

/** Pictures that the components are fitted to, at most: 5,000 of 32 x 32 and three channels are 61 MB. */
const mostFitted = 5000
const defaultSide = 32
const defaultComponents = 64

/**
 * Pixels after a principal component analysis: the space that needs no network. The components are those of `fit`, the
 * real pictures, all of them or 5,000 spread over the set.
 */
export async function pixelSpace(device: Device, options: SpaceOptions): Promise<FeatureSpace> {
  const { fit, signal } = options
  if (!fit)
    throw new TweedieError(
      'option',
      'The space pixels needs pictures to fit its principal components to: give the real ones, as fit.',
    )
  if (fit.length < 2)
    throw new TweedieError(
      'option',
      `${fit.name}: principal components of pixels need two pictures or more, found one.`,
    )
  const size = options.size ?? Math.min(commonSize(fit) ?? defaultSide, defaultSide)
  const { channels } = fit
  const dimension = channels * size * size
  const read = async (
    images: ImageSet,
    indices: readonly number[],
    stop?: AbortSignal,
  ): Promise<Float32Array<ArrayBuffer>> => (await imageBatch(images, indices, { size, channels }, stop)).images
  const fitted = fit.length <= mostFitted ? fit : subset(fit, evenlySpaced(fit.length, mostFitted))
  const components = options.components ?? Math.min(defaultComponents, fitted.length - 1, dimension)
  const data = await read(
    fitted,
    Array.from({ length: fitted.length }, (_, i) => i),
    signal,
  )
  const found = await principalComponents(device, { data, dimension }, components, signal)
  const mean = device.tensor(found.mean, [1, dimension])
  const directions = device.tensor(found.directions, [components, dimension])
  const rows: Rows = {
    dimension: components,
    batch: 256,
    read: async (images, indices, stop) =>
      device.tensor(await read(images, indices, stop), [indices.length, dimension]),
    run: (x) => matmul(sub(x, mean), directions, { transposeB: true }),
  }
  const dispose = (): void => {
    mean.dispose()
    directions.dispose()
  }
  return {
    name: 'pixels',
    dimension: components,
    preprocessing: `middle square, bicubic to ${size} x ${size}, values in [-1, 1], ${components} principal components`,
    weights: `fitted to ${fitted.length} pictures of ${fitted.fingerprint}`,
    features: (images, run) => rowsOf(images, rows, run),
    dispose,
    [Symbol.dispose]: dispose,
  }
}
