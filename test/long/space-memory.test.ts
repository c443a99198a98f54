/** What a feature space takes with as many pictures at once as it takes by itself is what it asks for. */
import { expect, test } from 'vitest'
import { openSpace, spaceMemoryOf, type SpaceName } from '../../src/metrics/index.ts'
import {
  inceptionStateDict,
  resNet18ToLayer3,
  resNetStateDict,
  viTB16,
  viTS16,
  viTStateDict,
} from '../../src/nn/index.ts'
import { Device } from '../../src/tensor/index.ts'
import { discs } from '../example-pages.ts'

/** Weights of these shapes, all alike. */
const weightsOf = (shapes: ReadonlyMap<string, readonly number[]>) => ({
  name: 'made',
  metadata: {},
  tensors: new Map(
    Array.from(shapes, ([key, shape]) => {
      const count = shape.reduce((a, b) => a * b, 1)
      const read = async (): Promise<Float32Array<ArrayBuffer>> => new Float32Array(count).fill(1e-3)
      return [key, { shape, byteLength: 4 * count, read }]
    }),
  ),
})

test.each<[SpaceName, number, ReadonlyMap<string, readonly number[]>?]>([
  ['inception', 16, inceptionStateDict()],
  ['random-resnet50', 32],
  ['random-vgg16', 8],
  ['dino-vits16', 32, viTStateDict(viTS16)],
  ['dino-vitb16', 32, viTStateDict(viTB16)],
  ['resnet18', 128, resNetStateDict(resNet18ToLayer3)],
])('%s', async (name, count, shapes) => {
  const need = spaceMemoryOf(name)!
  using device = await Device.request({ backend: 'cpu', need })
  using space = await openSpace(device, name, shapes && { weights: weightsOf(shapes) })
  const images = discs('discs', count, 32)
  await (space.all ? space.all(images) : space.features(images))
  const { peakBytes } = device.stats
  expect(peakBytes).toBeLessThan(need.bytes)
  expect(peakBytes).toBeGreaterThan(0.85 * need.bytes)
})
