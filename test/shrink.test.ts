/**
 * `tweedie shrink`: what is trained on is the same to the bit, a stopped run goes on, and nothing of
 * other images is mixed in.
 */
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openImages, trainingBatch } from '../src/data/index.node.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { writePictures } from './forty-images.ts'

const at = temporaryFolder()
const shrink = (data: string, out: string, size = 8) =>
  tweedie(['shrink', at(data), '--image-size', String(size), '--out', at(out)])

test('the small images are what training would cut out of the large ones, with their names and classes', async () => {
  writePictures(at('photos/a'), {
    count: 3,
    sizes: [
      [32, 20],
      [9, 40],
    ],
  })
  writePictures(at('photos/b'), { count: 2, sizes: [[17, 17]] })
  const { code, out } = await shrink('photos', 'small')
  expect([code, out]).toEqual([0, [`${at('small')}: 5 images of 8 x 8`]])
  const [large, small] = [await openImages(at('photos')), await openImages(at('small'))]
  expect([small.length, small.notes, small.classes, [...small.labels!]]).toEqual([5, [], ['a', 'b'], [0, 0, 0, 1, 1]])
  expect(Array.from({ length: 5 }, (_, i) => [small.imageName(i), small.sizeOf(i)])).toEqual(
    Array.from({ length: 5 }, (_, i) => [large.imageName(i), { width: 8, height: 8 }]),
  )
  const batch = (set: typeof large) =>
    trainingBatch(set, 0, 10, { size: 8, channels: 3, crop: 'center', augment: 'flip', seed: 3 })
  expect((await batch(small)).images).toEqual((await batch(large)).images)
})

test('the same command makes what is missing and leaves the rest; other images and sizes are refused', async () => {
  const picture = (k: number): string => join(at('small'), `a/00${k}.png`)
  const [whole, kept] = [readFileSync(picture(1)), statSync(picture(0)).mtimeMs]
  rmSync(picture(1))
  expect((await shrink('photos', 'small')).code).toBe(0)
  expect(readFileSync(picture(1))).toEqual(whole)
  expect(statSync(picture(0)).mtimeMs).toBe(kept)
  expect((await shrink('photos', 'small', 4)).err).toEqual([
    expect.stringMatching(/holds the images of .*photos at 8 x 8, and these are others: choose another --out/),
  ])
  writePictures(at('photos/b'), { count: 3, sizes: [[17, 17]] })
  expect((await shrink('photos', 'small')).err).toEqual([expect.stringMatching(/these are others/)])
  // Pictures that it did not make.
  writePictures(at('others'), { count: 1 })
  expect((await shrink('photos', 'others')).err).toEqual([
    expect.stringMatching(/holds 000\.png, but no \.shrunk\.json/),
  ])
})

test('damaged images are named, all of them', async () => {
  writePictures(at('damaged'), { count: 4 })
  for (const k of [1, 3])
    writeFileSync(at(`damaged/00${k}.png`), readFileSync(at(`damaged/00${k}.png`)).fill(7, 50, 60))
  const { code, err } = await shrink('damaged', 'of-damaged')
  expect([code, err.at(-1)]).toEqual([1, expect.stringMatching(/2 images cannot be read.*\n.*001\.png.*\n.*003\.png/)])
})

test('--skip-bad leaves them out, and the record of the folder names them', async () => {
  const argv = ['shrink', at('damaged'), '--image-size', '8', '--out', at('whole'), '--skip-bad']
  const { code, out, err } = await tweedie(argv)
  expect([code, out], err.join('\n')).toEqual([0, [`${at('whole')}: 2 images of 8 x 8`]])
  expect(err.join('\n')).toMatch(/2 of 4 images are left out:\n.*001\.png.*\n.*003\.png/)
  expect(JSON.parse(readFileSync(at('whole/.shrunk.json'), 'utf8'))).toMatchObject({ leftOut: ['001.png', '003.png'] })
})

test('mistakes are named', async () => {
  expect((await tweedie(['shrink', at('photos'), '--out', at('x')])).err).toEqual([
    expect.stringMatching(/--image-size is required/),
  ])
  expect((await tweedie(['shrink', at('photos'), '--image-size', '8'])).err).toEqual([
    expect.stringMatching(/--out is required/),
  ])
  expect((await shrink('photos', 'photos/small')).err).toEqual([expect.stringMatching(/lies in the data/)])
})
