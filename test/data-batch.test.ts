/** From images to batches: resizing as Pillow does it, crops, symmetries, and the stream that training reads. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  centerCrop,
  checkImages,
  imageArrays,
  imageBatch,
  randomCrop,
  resize,
  subset,
  trainingBatch,
  withChannels,
  type BatchOptions,
} from '../src/data/index.ts'
import { countingSet, pattern } from './data-fixtures.ts'

describe('crops', () => {
  // guided-diffusion's center_crop_arr with Pillow 9.4 on the same pixels: the first 16 digits of the SHA-256 of what
  // it makes in colour, and after convert('L').
  test.each([
    [31, 40, 16, '191eaf25d734c3f6', 'b60ed68b5eaae9eb'],
    [77, 100, 16, '008228b72e2e760f', 'cad31a52ce1eecba'],
    [178, 218, 64, '14ddeae53590c320', 'de5ddca7edad60e5'],
    [50, 33, 32, '42c238dec3c48562', '2ec60cb868b05e86'],
    [64, 64, 32, '01243331f2924935', 'ea07413438996ba0'],
    [90, 31, 12, '3ef18b42fedf1b11', '4fb80a612c3d9668'],
  ])("%i x %i to the middle %i: Pillow's bytes", (width, height, size, colour, grey) => {
    const hash = (data: Uint8Array) => createHash('sha256').update(data).digest('hex').slice(0, 16)
    const image = pattern(width, height)
    expect(hash(centerCrop(image, size).data)).toBe(colour)
    expect(hash(centerCrop(withChannels(image, 1), size).data)).toBe(grey)
  })

  test('a box of two is the mean, rounded up at a half', () => {
    const { data } = resize({ width: 4, height: 1, channels: 1, data: Uint8Array.of(1, 2, 10, 20) }, 2, 1, 'box')
    expect([...data]).toEqual([2, 15])
  })

  test('bicubic keeps what is constant, and an image of its size is the image', () => {
    const image = { width: 7, height: 5, channels: 1 as const, data: new Uint8Array(35).fill(200) }
    expect(new Set(resize(image, 11, 3, 'bicubic').data)).toEqual(new Set([200]))
    expect(centerCrop(pattern(8, 8), 8)).toEqual(pattern(8, 8))
  })

  test('a random crop scales the short side to size … ⌈size / 0.8⌉ and lies anywhere in it', () => {
    const image = pattern(40, 20)
    const crop = (scale: number, top: number, left: number) => {
      const draws = [scale, top, left]
      return randomCrop(image, 16, () => draws.shift() as number)
    }
    // 16 … 20: the first fifth of draws leaves 16, the last 20.
    expect(crop(0.1, 0, 0.5)).toEqual(centerCropAt(resize(image, 32, 16, 'bicubic'), Math.floor(0.5 * 17), 0))
    expect(crop(0.99, 0.99, 0)).toEqual(centerCropAt(image, 0, 4))
    expect(crop(0.99, 0, 0.99)).toEqual(centerCropAt(image, 24, 0))
  })

  const centerCropAt = ({ width, channels, data }: ReturnType<typeof pattern>, left: number, top: number) => ({
    width: 16,
    height: 16,
    channels,
    data: Uint8Array.from(
      { length: 16 * 16 * 3 },
      (_, i) => data[((top + Math.floor(i / 48)) * width + left) * 3 + (i % 48)],
    ),
  })

  test('luma is 0.299 R + 0.587 G + 0.114 B, and grey is repeated', () => {
    const grey = withChannels(
      { width: 3, height: 1, channels: 3, data: Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255) },
      1,
    )
    expect([...grey.data]).toEqual([76, 150, 29])
    expect([...withChannels(grey, 3).data]).toEqual([76, 76, 76, 150, 150, 150, 29, 29, 29])
  })
})

describe('the stream of training images', () => {
  test('options that there are not are refused: their defaults would be taken', async () => {
    const options: BatchOptions = { size: 8, channels: 3, seed: 1 }
    const batch = (more: object): Promise<unknown> => trainingBatch(countingSet(4), 0, 2, { ...options, ...more })
    await expect(batch({ augment: 'flips' })).rejects.toThrow(
      "trainingBatch: augment is 'none', 'flip' or 'symmetries', found 'flips': did you mean 'flip'?",
    )
    await expect(batch({ crop: 'centre' })).rejects.toThrow(
      "trainingBatch: crop is 'center' or 'random', found 'centre': did you mean 'center'?",
    )
    await expect(batch({ augmentation: 'flip' })).rejects.toThrow(/^trainingBatch: unknown option "augmentation"/)
    await expect(batch({ size: undefined })).rejects.toThrow(/^trainingBatch: expected a size in pixels/)
  })

  const options: BatchOptions = { size: 2, channels: 1, seed: 3 }

  test('every epoch goes once through the set, in an order of its own', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 2 ** 40 }),
        fc.integer({ min: 0, max: 5 }),
        async (n, seed, epoch) => {
          const { indices } = await trainingBatch(countingSet(n), epoch * n, n, { ...options, seed })
          expect([...indices].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i))
        },
      ),
      { numRuns: 50 },
    ))

  test('epochs and seeds differ', async () => {
    const set = countingSet(50)
    const order = async (epoch: number, seed: number) =>
      (await trainingBatch(set, epoch * 50, 50, { ...options, seed })).indices
    const orders = await Promise.all([order(0, 1), order(1, 1), order(0, 2)])
    expect(new Set(orders.map(String)).size).toBe(3)
    // All positions are equally likely: index 0 over 400 epochs stands in each tenth of the order 40 ± 6 times.
    const tenths = new Array<number>(10).fill(0)
    for (let epoch = 0; epoch < 400; epoch++) tenths[Math.floor((await order(epoch, 7)).indexOf(0) / 5)]++
    expect(Math.min(...tenths)).toBeGreaterThan(40 - 5 * 6)
    expect(Math.max(...tenths)).toBeLessThan(40 + 5 * 6)
  })

  test('images do not depend on the batch they are read in, nor on what was read before', async () => {
    const data = Uint8Array.from({ length: 7 * 20 * 16 * 3 }, (_, i) => (i * i * 7 + i * 3) % 256)
    const make = () =>
      imageArrays({
        name: 'x',
        fingerprint: 'f',
        width: 20,
        height: 16,
        channels: 3,
        data,
        labels: [0, 1, 2, 0, 1, 2, 0],
      })
    const all = { size: 16, channels: 3, crop: 'random', augment: 'symmetries', seed: 5 } as const
    const whole = await trainingBatch(make(), 3, 24, all)
    const set = make()
    for (const [first, count] of [
      [20, 7],
      [3, 1],
      [4, 16],
    ]) {
      const part = await trainingBatch(set, first, count, all)
      const from = (first - 3) * 3 * 256
      expect(part.images).toEqual(whole.images.slice(from, from + count * 3 * 256))
      expect(part.indices).toEqual(whole.indices.slice(first - 3, first - 3 + count))
      expect(part.labels).toEqual(whole.labels?.slice(first - 3, first - 3 + count))
    }
    expect([...(whole.labels ?? [])]).toEqual(whole.indices.map((index) => index % 3))
  })

  test('values are u8 / 127.5 - 1, channels apart', async () => {
    const data = Uint8Array.from([0, 1, 2, 128, 254, 255, 10, 20, 30, 40, 50, 60])
    const set = imageArrays({ name: 'x', fingerprint: 'f', width: 2, height: 2, channels: 3, data })
    const { images } = await imageBatch(set, [0], { size: 2, channels: 3 })
    expect(images).toEqual(
      Float32Array.from([0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11], (i) => Math.fround(data[i] / 127.5) - 1),
    )
    const grey = await imageBatch(set, [0], { size: 2, channels: 1 })
    expect(grey.images[0]).toBe(Math.fround(Math.fround(1 / 127.5) - 1))
  })

  const letters = (augment: BatchOptions['augment']) => async () => {
    // Asymmetric in every way: 1 2 / 3 4.
    const set = imageArrays({
      name: 'x',
      fingerprint: 'f',
      width: 2,
      height: 2,
      channels: 1,
      data: Uint8Array.of(1, 2, 3, 4),
    })
    const { images } = await trainingBatch(set, 0, 4000, { ...options, ...(augment && { augment }) })
    const seen = new Map<string, number>()
    for (let i = 0; i < 4000; i++) {
      const key = Array.from(images.subarray(4 * i, 4 * i + 4), (value) => Math.round((value + 1) * 127.5)).join('')
      seen.set(key, (seen.get(key) ?? 0) + 1)
    }
    return seen
  }

  test('flips are left to right, half of the time', async () => {
    expect(await letters(undefined)()).toEqual(new Map([['1234', 4000]]))
    const flips = await letters('flip')()
    expect([...flips.keys()].sort()).toEqual(['1234', '2143'])
    // Within five standard deviations of 31.6.
    expect(Math.abs((flips.get('1234') as number) - 2000)).toBeLessThan(158)
  })

  test('symmetries are the eight of the square, equally often', async () => {
    const seen = await letters('symmetries')()
    expect([...seen.keys()].sort()).toEqual(['1234', '1324', '2143', '2413', '3142', '3412', '4231', '4321'])
    // Standard deviation √(4000 · 1/8 · 7/8) = 20.9.
    for (const count of seen.values()) expect(Math.abs(count - 500)).toBeLessThan(105)
  })

  test('a subset is a set: its labels, columns, names and pixels are those of the images chosen', async () => {
    const set = countingSet(5, { labels: [0, 1, 2, 0, 1], columns: { smear: [5, 6, 7, 8, 9] } })
    const part = subset(set, [4, 0, 2])
    expect([part.length, [...(part.labels ?? [])], part.classes, part.columns.get('smear'), part.imageName(0)]).toEqual(
      [3, [1, 0, 2], ['0', '1', '2'], [9, 5, 7], '4'],
    )
    expect((await part.read(0)).data[0]).toBe(4)
    expect(new Set([set, part, subset(set, [0, 4, 2]), subset(set, [4, 0])].map((s) => s.fingerprint)).size).toBe(4)
    const inner = subset(part, [2, 0])
    expect(inner.origin?.set).toBe(set)
    expect(inner.fingerprint).toBe(subset(set, [2, 4]).fingerprint)
    expect(() => subset(set, [5])).toThrow('counting: expected indices below its 5 images, found 5.')
    expect(() => subset(set, [])).toThrow('found an empty choice')
  })
})

describe('what does not fit', () => {
  const tall = imageArrays({
    name: 'cells',
    fingerprint: 'f',
    width: 20,
    height: 30,
    channels: 1,
    data: new Uint8Array(600 * 2),
  })
  const options: BatchOptions = { size: 16, channels: 1, seed: 0 }

  test('other sizes without a crop, in the batch and before it; with one, smaller images are enlarged', async () => {
    const uncropped =
      'cells: image 0 has 20 x 30 pixels: expected 16 x 16, as no crop was asked for. Ask for ' +
      'a centre or a random crop.'
    expect(() => checkImages(tall, options)).toThrow(uncropped)
    expect(checkImages(tall, { size: 32, crop: 'random' })).toBe(2)
    expect(checkImages(tall, { size: 16, crop: 'center' })).toBe(0)
    await expect(trainingBatch(tall, 0, 1, options)).rejects.toThrow(
      /cells: image [01] has 20 x 30 pixels: expected 16 x 16/,
    )
    const large = await trainingBatch(tall, 0, 1, { ...options, size: 32, crop: 'center' })
    expect(large.images).toEqual(new Float32Array(1024).fill(-1))
    expect((await imageBatch(tall, [0, 1], { size: 16, channels: 1 })).images.length).toBe(2 * 256)
  })

  test('one image where more are needed', () => {
    expect(() => checkImages(countingSet(1), { size: 2 }, 2)).toThrow(
      'counting: expected at least 2 images, found one. Add more.',
    )
  })

  test('an abort is passed on', async () => {
    await expect(
      trainingBatch(tall, 0, 1, { ...options, crop: 'center' }, AbortSignal.abort(new Error('enough'))),
    ).rejects.toThrow('enough')
  })
})
