/** Resizing and preprocessing against Pillow's and torchvision's own results, byte by byte and float by float. */
import { createHash } from 'node:crypto'
import { beforeAll, expect, test } from 'vitest'
import {
  middle,
  normalized,
  resize,
  resizeFloats,
  resizeShortSide,
  sampleLinear,
  type Image,
} from '../src/data/index.ts'
import { inceptionInput, inceptionInputs, inceptionPreprocessing, type InceptionInput } from '../src/metrics/index.ts'
import { arrayNamed, readGolden, type Golden } from './golden.ts'
import { keyedBytes, keyedValues } from './keyed-formula.ts'
import { expectClose, expectSameBits } from './op.ts'
import { describeShared } from './shared.ts'

const picture = (key: string, height: number, width: number): Image => ({
  width,
  height,
  channels: 3,
  data: keyedBytes(key, width * height * 3),
})

/** Some rows of an interleaved image. */
const rowsOf = <T extends Uint8Array | Float32Array>(data: T, row: number, rows: readonly number[]): number[] =>
  rows.flatMap((y) => [...data.subarray(y * row, (y + 1) * row)])

test('the formula of the goldens', () => {
  expect([...keyedValues('x', 3)].map((v) => v.toFixed(7))).toEqual(['-0.6299756', '0.7598531', '-0.5119315'])
})

describeShared('as Pillow and torchvision', () => {
  let golden: Golden
  beforeAll(async () => void (golden = await readGolden('goldens/baselines/preprocess.safetensors')))
  const expectBytes = (found: number[], name: string): void =>
    expect(found).toEqual(Array.from(arrayNamed(golden, name).data))
  const [pic, big] = [picture('pic', 96, 70), picture('bigpic', 300, 451)]

  test('both sides given: enlarged and shrunk', () => {
    expectBytes(rowsOf(resize(pic, 224, 224, 'bicubic').data, 672, [0, 1, 111, 223]), 'ipr224')
    expectBytes([...resize(big, 64, 64, 'bicubic').data], 'shrink.bicubic')
  })

  test('a short side and the middle square', () => {
    const resized = resizeShortSide(pic, 256, 'bicubic')
    expect(Array.from(arrayNamed(golden, 'dino.resized_size').data, Number)).toEqual([resized.height, resized.width])
    expectBytes(rowsOf(middle(resized, 224).data, 672, [0, 1, 111, 223]), 'dino.cropped')
    const square = (image: Image): Image => middle(resizeShortSide(image, 256, 'bilinear'), 224)
    expectBytes(rowsOf(square(pic).data, 672, [0, 1, 111, 223]), 'resnet.cropped')
    expectBytes(rowsOf(square(big).data, 672, [0, 223]), 'shrink.bilinear')
  })

  test('normalised values', () => {
    const values = normalized(
      middle(resizeShortSide(pic, 256, 'bicubic'), 224),
      [0.485, 0.456, 0.406],
      [0.229, 0.224, 0.225],
    )
    const rows = [0, 1, 2].flatMap((c) => rowsOf(values.subarray(c * 224 * 224), 224, [0, 223]))
    expectClose(rows, arrayNamed(golden, 'dino.normalised').data, 1e-7, 'normalised')
  })
})

test.each<[number, number, number, number, 'box' | 'bilinear' | 'bicubic', string, string]>([
  [64, 48, 31, 77, 'bilinear', '1d8dd45b3f3f894d', '8e93173834eaf2ef'],
  [140, 9, 50, 9, 'bicubic', '232408b566f47d40', '8809c2b582a6150c'],
  [33, 57, 299, 299, 'bicubic', '260921a7b99c2c8b', '7577f6ba18f6ddab'],
  [100, 90, 37, 41, 'box', '27448b0a2d0981c1', 'ad2f8307448a3b45'],
  [200, 3, 7, 1, 'bilinear', 'afbf411d3afaaafb', 'fb1b62ab63fa4202'],
])(
  '%i x %i to %i x %i by %s, bytes and floats: those of Pillow 12.3',
  (width, height, toWidth, toHeight, filter, bytes, floats) => {
    const hash = (data: Uint8Array | Float32Array): string =>
      createHash('sha256').update(new Uint8Array(data.buffer)).digest('hex').slice(0, 16)
    const image = picture('pillow', height, width)
    expect(hash(resize(image, toWidth, toHeight, filter).data)).toBe(bytes)
    expect(hash(resizeFloats(image, toWidth, toHeight, filter))).toBe(floats)
  },
)

describeShared('floats as clean-fid has them', () => {
  test.each<[string, string, number, number, number[]]>([
    ['clean64', 'image', 64, 64, [0, 1, 2, 3, 4, 5, 100, 150, 151, 297, 298]],
    ['clean400x330', 'big', 400, 330, [0, 1, 2, 3, 100, 150, 297, 298]],
  ])('%s, bit for bit', async (name, key, height, width, rows) => {
    const golden = await readGolden('goldens/baselines/clean-resize.safetensors')
    const floats = resizeFloats(picture(key, height, width), 299, 299, 'bicubic')
    const clipped = floats.map((v) => Math.max(0, Math.min(255, v)))
    expectSameBits(
      Float32Array.from(rowsOf(clipped, 897, rows)),
      Float32Array.from(arrayNamed(golden, `${name}.rows`).data),
      name,
    )
    const [sum, zeros, full, most] = Array.from(arrayNamed(golden, `${name}.stats`).data)
    expect(Math.abs(clipped.reduce((a, b) => a + b, 0) - sum)).toBeLessThanOrEqual(1e-6 * sum)
    expect([clipped.filter((v) => v === 0).length, clipped.filter((v) => v === 255).length]).toEqual([zeros, full])
    expect(clipped.reduce((a, b) => Math.max(a, b), 0)).toBe(most)
    // The clipping is not idle.
    expect(floats.some((v) => v > 255) && floats.some((v) => v < 0)).toBe(true)
  })
})

describeShared('floats between pixels', () => {
  test('as PyTorch interpolates', async () => {
    const golden = await readGolden('goldens/baselines/clean-resize.safetensors')
    const floats = sampleLinear(picture('image', 64, 64), 299, 299, { halfPixel: true })
    // Products of float32 weights there, one difference in double precision here.
    const expected = arrayNamed(golden, 'legacy_pytorch64.rows').data
    expectClose(rowsOf(floats, 897, [0, 1, 2, 150, 298]), expected, 2e-7, 'legacy_pytorch64')
  })
})

test('floats between pixels by hand: with half pixels the ends are kept, without them the picture moves', () => {
  const row: Image = { width: 2, height: 1, channels: 1, data: Uint8Array.of(0, 100) }
  expect([...sampleLinear(row, 4, 1, { halfPixel: true })]).toEqual([0, 25, 75, 100])
  expect([...sampleLinear(row, 4, 1, { halfPixel: false })]).toEqual([0, 50, 100, 100])
  // Four to two: the second and the fourth pixel are never looked at.
  const four: Image = { width: 1, height: 4, channels: 1, data: Uint8Array.of(10, 255, 30, 255) }
  expect([...sampleLinear(four, 1, 2, { halfPixel: false })]).toEqual([10, 30])
})

test('the three inputs of Inception, of one picture', () => {
  const image: Image = { width: 299, height: 299, channels: 1, data: keyedBytes('grey', 299 * 299) }
  const [byte] = image.data
  const first = (input: InceptionInput): number => inceptionInput(image, input)[0]
  // Of its size already, so only the values differ.
  expect(inceptionInputs.map(first)).toEqual([
    (byte - 128) / 128,
    Math.fround((2 * byte) / 255 - 1),
    (byte - 128) / 128,
  ])
  const values = inceptionInput(image)
  expect(values.subarray(0, 299 ** 2)).toEqual(values.subarray(2 * 299 ** 2))
  const small = picture('image', 64, 64)
  const [clean, torch, tensorflow] = inceptionInputs.map((input) => inceptionInput(small, input))
  expect(Math.max(...clean.subarray(0, 1000))).toBeLessThanOrEqual(127 / 128)
  const apart = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i])), 0)
  for (const [a, b] of [
    [clean, torch],
    [clean, tensorflow],
    [torch, tensorflow],
  ] as const)
    expect(apart(a, b)).toBeGreaterThan(0.1)
  expect(inceptionPreprocessing('clean')).toMatch(/^clean-fid/)
  expect(() => inceptionInput(small, 'tensorflow' as never)).toThrow(
    /^Inception: the input is 'clean', 'legacy_pytorch' or/,
  )
})

test('floats of a size that stays are the bytes, and a grey image stays grey', () => {
  const grey: Image = { width: 5, height: 4, channels: 1, data: keyedBytes('grey', 20) }
  expect([...resizeFloats(grey, 5, 4, 'bicubic')]).toEqual([...grey.data])
  expect(resizeFloats(grey, 7, 4, 'bilinear')).toHaveLength(28)
})

test('what cannot be is said', () => {
  const image = picture('small', 4, 6)
  expect(() => middle(image, 5)).toThrow(
    'middle: expected an image of 5 x 5 pixels or more, found 6 x 4. Enlarge it first.',
  )
  expect(() => resizeShortSide(image, 0, 'bicubic')).toThrow('resizeShortSide: expected a size in pixels')
  expect(() => resizeFloats(image, 8, 8, 'nearest' as never)).toThrow(/resizeFloats: filter/)
})
