/** Pictures in and out: values of a batch as images, PNG files, ImageData and canvases, and back. */
import { build } from 'esbuild'
import { describe, expect, test } from 'vitest'
import {
  batchOf,
  centerCrop,
  contactSheet,
  decodeImage,
  drawImage,
  encodePng,
  imageArrays,
  imageBatch,
  imageDataOf,
  imageFrom,
  imageOf,
  imagesOf,
  imagesOfSheet,
  resize,
  withChannels,
  type Canvas,
  type Image,
  type Pixels,
} from '../src/data/index.ts'
import { TweedieError } from '../src/errors.ts'
import { chromium, html, posting, visit } from './chromium.ts'
import { pattern } from './data-fixtures.ts'
import { numbers } from './op.ts'
import { packed } from './packed.ts'

/** Bytes of every value, [0, 256), as a grey image and as a colour one. */
const grey: Image = { width: 16, height: 16, channels: 1, data: Uint8Array.from({ length: 256 }, (_, i) => i) }
const colour: Image = {
  width: 16,
  height: 16,
  channels: 3,
  data: Uint8Array.from({ length: 768 }, (_, i) => (i * 37) % 256),
}

describe('a contact sheet', () => {
  test.each([
    [grey, 5, 2],
    [colour, 3, 3],
    [{ ...colour, width: 96, height: 96, data: Uint8Array.from({ length: 27648 }, (_, i) => (i * 7) % 255) }, 1, 1],
  ])('gives back the pictures it was made of', (image, number, columns) => {
    const images = Array.from({ length: number }, (_, k) => ({ ...image, data: image.data.map((v) => (v + k) % 255) }))
    expect(imagesOfSheet(contactSheet(images, columns), image.width)).toEqual(images)
  })

  test('is told from other pictures', () => {
    const sheet = contactSheet([colour, colour], 2)
    expect(imagesOfSheet(sheet, 8)).toBeNull()
    expect(imagesOfSheet(colour, 16)).toBeNull()
    // A pixel of the space between, and one of those that were enlarged.
    for (const at of [0, (5 * sheet.width + 5) * 3]) {
      const data = sheet.data.slice()
      data[at] ^= 1
      expect(imagesOfSheet({ ...sheet, data }, 16)).toBeNull()
    }
  })
})

describe('values', () => {
  test('export truncates, as the reference does', () => {
    // (x + 1) * 127.5 of 127.4999 is 127, of 254.9999 is 254; outside is clamped.
    const { data } = imageOf(Float32Array.from([-1, -0.5, 0, 0.5, 0.99999, 1, -7, 7]), [1, 1, 2, 4], 0)
    expect([...data]).toEqual([0, 63, 127, 191, 254, 255, 0, 255])
  })

  test('a batch becomes images, planes of a channel interleaved', () => {
    const values = Float32Array.from({ length: 2 * 3 * 8 }, (_, i) => i / 24 - 1)
    const images = imagesOf(values, [2, 3, 2, 4])
    expect(images.map(({ width, height, channels }) => [width, height, channels])).toEqual([
      [4, 2, 3],
      [4, 2, 3],
    ])
    const byte = (i: number): number => Math.trunc(Math.fround(Math.fround(values[i] + 1) * 127.5))
    expect([...images[1].data]).toEqual(
      Array.from({ length: 24 }, (_, i) => byte(24 + (i % 3) * 8 + Math.floor(i / 3))),
    )
    expect(imageOf(values, [2, 3, 2, 4], 1)).toEqual(images[1])
  })

  test('a batch of images has the values that scoring reads of a set', async () => {
    const images = [40, 80].map(
      (v): Image => ({ ...pattern(50, 33), data: pattern(50, 33).data.map((byte, i) => (byte + v * i) % 256) }),
    )
    const set = imageArrays({
      name: 'two',
      fingerprint: '',
      width: 50,
      height: 33,
      channels: 3,
      data: Uint8Array.from(images.flatMap(({ data }) => [...data])),
    })
    for (const channels of [1, 3] as const) {
      expect(batchOf(images, { size: 16, channels })).toEqual(
        (await imageBatch(set, [0, 1], { size: 16, channels })).images,
      )
    }
    const bytes = centerCrop(withChannels(images[0], 1), 16).data
    expect([...batchOf([images[0]], { size: 16, channels: 1 })]).toEqual([
      ...Float32Array.from(bytes, (byte) => Math.fround(byte / 127.5) - 1),
    ])
  })

  test('grey becomes three equal channels', () => {
    const values = batchOf([grey], { size: 16, channels: 3 })
    expect(values.subarray(0, 256)).toEqual(values.subarray(256, 512))
    expect(values[37]).toBeCloseTo(37 / 127.5 - 1, 6)
  })

  test.each<[string, () => unknown, string, RegExp]>([
    [
      'a batch of six channels',
      () => imageOf(numbers(6 * 4, 1), [1, 6, 2, 2], 0),
      'shape',
      /\[N, C, H, W\] with 1 or 3 channels, found 24 values for \[1, 6, 2, 2\]/,
    ],
    [
      'an image without its batch',
      () => imageOf(numbers(12, 1), [3, 2, 2], 0),
      'shape',
      /found 12 values for \[3, 2, 2\]/,
    ],
    [
      'values of one image of two',
      () => imageOf(numbers(12, 1), [2, 3, 2, 2], 0),
      'shape',
      /found 12 values for \[2, 3, 2, 2\]/,
    ],
    ['an image that is not there', () => imageOf(numbers(12, 1), [1, 3, 2, 2], 1), 'option', /from 0 to 0, found 1/],
    [
      'a tensor that was not read',
      () => imageOf({ shape: [1, 1, 2, 2] } as never, [1, 1, 2, 2], 0),
      'option',
      /imageOf: expected the values of a batch, found an object\. await x\.read\(\) gives those of a tensor/,
    ],
    [
      'values without a shape',
      () => imagesOf(numbers(4, 1), undefined as never),
      'option',
      /imagesOf: expected their shape \[N, C, H, W\], found undefined/,
    ],
    // It would halve the image for ever.
    [
      'a crop of no pixels',
      () => centerCrop(grey, -4),
      'option',
      /centerCrop: expected a size in pixels, a whole number of 1 or more, found -4/,
    ],
    ['half a pixel', () => resize(grey, 3.5, 2, 'box'), 'option', /resize: expected a size in pixels/],
    [
      'another filter',
      () => resize(grey, 3, 2, 'lanczos' as never),
      'option',
      /resize: filter is 'box', 'bilinear' or 'bicubic', found 'lanczos'/,
    ],
    ['no image', () => batchOf([], { size: 8, channels: 3 }), 'option', /one image or more/],
    [
      'a size that is missing',
      () => batchOf([grey], { channels: 1 } as never),
      'option',
      /batchOf: expected a size in pixels, and 1 or 3 channels, found size undefined and channels 1/,
    ],
    [
      'an ImageData as an image',
      () => encodePng({ width: 2, height: 2, data: new Uint8ClampedArray(16) } as never),
      'option',
      /encodePng: expected an image of 1 or 3 channels.* 16 bytes for 2 x 2 pixels of undefined channels\. imageFrom makes one/,
    ],
    [
      'an image of too few bytes',
      () => imageDataOf({ ...grey, height: 17 }),
      'option',
      /imageDataOf: expected an image .* 256 bytes for 16 x 17 pixels of 1 channels/,
    ],
    [
      'an image and a canvas exchanged',
      () => drawImage(grey as never, { width: 1, height: 1, getContext: () => null } as never),
      'option',
      /drawImage: expected an image/,
    ],
    ['no canvas', () => drawImage('canvas' as never, grey), 'option', /drawImage: expected a canvas, found "canvas"/],
    [
      'a path',
      () => decodeImage('a.png' as never),
      'option',
      /decodeImage: expected the bytes of a file, a Uint8Array or an ArrayBuffer, found "a\.png"/,
    ],
    [
      'what is no picture',
      () => imageFrom({ width: 2, height: 2, data: new Uint8ClampedArray(12) }),
      'option',
      /expected an ImageData or a canvas, found 12 bytes for 2 x 2 pixels/,
    ],
    [
      'a picture of the page',
      () => imageFrom({ width: 2, height: 2, src: 'a.png' } as never),
      'option',
      /found something else. Draw it onto a canvas/,
    ],
    [
      'a canvas of WebGL',
      () => drawImage({ width: 1, height: 1, getContext: () => null }, grey),
      'option',
      /no 2d context/,
    ],
  ])('%s is refused', (_, make, code, message) => {
    let error: unknown
    try {
      make()
    } catch (found) {
      error = found
    }
    expect(error).toBeInstanceOf(TweedieError)
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
  })
})

describe('files', () => {
  test.each([
    ['grey', grey],
    ['colour', colour],
  ])('%s goes to a PNG and back to the same bytes', (_, image) => {
    const png = encodePng(image)
    expect(decodeImage(png)).toEqual(image)
    expect(decodeImage(new Uint8Array(png).buffer), 'as a Blob gives it').toEqual(image)
    // A view of its own bytes, as Blob and Response take it.
    expect(new Uint8Array(png.buffer, png.byteOffset, png.byteLength)).toEqual(png)
  })

  test('a damaged picture is named', () => {
    const bytes = encodePng(colour)
    bytes[60] ^= 255
    expect(() => decodeImage(bytes, 'damaged.png')).toThrow(/^damaged\.png: a damaged PNG/)
    expect(() => decodeImage(bytes)).toThrow(/^the image: a damaged PNG/)
  })
})

describe('ImageData and canvases', () => {
  /** What a canvas does with pixels. */
  const canvas = (): Canvas & { pixels?: Pixels } => {
    const self: Canvas & { pixels?: Pixels } = {
      width: 300,
      height: 150,
      getContext: () => ({
        putImageData: (pixels: Pixels) => (self.pixels = pixels),
        getImageData: () => self.pixels,
      }),
    }
    return self
  }

  test('an ImageData is opaque, and grey has three equal colours', () => {
    const pixels = imageDataOf({ width: 2, height: 1, channels: 1, data: Uint8Array.of(7, 200) })
    expect([...pixels.data]).toEqual([7, 7, 7, 255, 200, 200, 200, 255])
    expect({ ...pixels, data: 0 }).toEqual({ width: 2, height: 1, colorSpace: 'srgb', data: 0 })
    expect(imageFrom(imageDataOf(colour))).toEqual(colour)
  })

  test('a canvas takes the size of the image, and gives it back', () => {
    const there = canvas()
    drawImage(there, colour)
    expect([there.width, there.height]).toEqual([16, 16])
    expect(imageFrom(there)).toEqual(colour)
    drawImage(there, grey)
    expect(imageFrom(there)).toEqual(withChannels(grey, 3))
  })
})

describe.runIf(chromium)('in Chromium', () => {
  test("canvases, ImageData and the browser's own PNG files hold the same bytes", async () => {
    const { outputFiles } = await build({
      stdin: {
        contents: posting(`
          import { decodeImage, drawImage, encodePng, imageDataOf, imageFrom } from 'tweedie/data'
          const { data, ...size } = ${JSON.stringify({ ...colour, data: [...colour.data] })}
          const image = { ...size, data: Uint8Array.from(data) }
          async function run() {
            const canvas = document.createElement('canvas')
            const offscreen = new OffscreenCanvas(1, 1)
            drawImage(canvas, image)
            drawImage(offscreen, image)
            const bitmap = new OffscreenCanvas(16, 16)
            bitmap.getContext('2d').drawImage(await createImageBitmap(new Blob([encodePng(image)])), 0, 0)
            const saved = new Uint8Array(await (await offscreen.convertToBlob()).arrayBuffer())
            const images = { canvas: imageFrom(canvas), offscreen: imageFrom(offscreen), shown: imageFrom(bitmap), saved: decodeImage(saved), pixels: imageFrom(imageDataOf(image)) }
            return { isImageData: imageDataOf(image) instanceof ImageData, images: Object.entries(images).map(([name, { data, ...size }]) => [name, { ...size, data: [...data] }]) }
          }`),
        resolveDir: await packed(),
        loader: 'js',
      },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      target: 'es2022',
      logLevel: 'error',
    })
    const files: Readonly<Record<string, string>> = {
      '/': html('<script type="module" src="/script.js"></script>'),
      '/script.js': outputFiles[0].text,
    }
    const { result } = await visit<object>({ serve: (path) => files[path] ?? null })
    const expected = { ...colour, data: [...colour.data] }
    expect(result).toEqual({
      isImageData: true,
      images: ['canvas', 'offscreen', 'shown', 'saved', 'pixels'].map((name) => [name, expected]),
    })
  })
})
