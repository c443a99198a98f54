/** What lies in weights/: small enough, each file with a card, and each doing what its card says it is for. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { applySelection, imageBatch, openImages, parseSelection, type ImageSet } from '../src/data/index.node.ts'
import { diffusionOf, minorityMetadata } from '../src/diffusion/index.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { describeModel, loadFeatureNet, loadModel, type Classifier, type UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { evaluateDiffusion } from '../src/train/index.ts'
import { bccd32, shippedHashes } from '../src/tweedie/shipped.ts'
import { deviceTest, onCPU } from './op.ts'
import { describeShared, shared } from './shared.ts'

const folder = fileURLToPath(new URL('../weights/', import.meta.url))
const files = readdirSync(folder)

test('all weights together are smaller than 25 MB, and each has a model card', () => {
  expect(files.reduce((sum, name) => sum + statSync(folder + name).size, 0)).toBeLessThan(25e6)
  const cards = files.filter((name) => name.endsWith('.safetensors')).map((name) => name.replace('.safetensors', '.md'))
  expect(cards.length).toBeGreaterThan(1)
  for (const card of cards) expect(readFileSync(folder + card, 'utf8'), card).toMatch(/not for diagnosis/)
})

test('the files have the hashes by which pages check them', () => {
  expect(Object.keys(shippedHashes).sort()).toEqual(Object.values(bccd32).sort())
  for (const [name, sha256] of Object.entries(shippedHashes))
    expect(
      createHash('sha256')
        .update(readFileSync(folder + name))
        .digest('hex'),
      name,
    ).toBe(sha256)
})

test('one fifth of the smears is held out', () => {
  const { parts, how } = parseSelection(readFileSync(`${folder}bccd32-split.json`, 'utf8'))
  expect(how).toEqual({ holdOut: 0.2, by: 'source_image', seed: 0 })
  const both = [...parts.train, ...parts['held-out']]
  expect([parts.train.length, parts['held-out'].length, new Set(both).size]).toEqual([3913, 973, 4886])
})

deviceTest(
  'the feature net finds a picture nearest to itself, then to its noisy copy, then to its turned colours',
  async (device) => {
    const checkpoint = await openCheckpoint(await openFile(`${folder}bccd32-features.safetensors`))
    using net = await loadFeatureNet(device, checkpoint)
    await checkpoint.close()
    // A dark disc on a light ground, redder than blue.
    const cell = (noise: number, turn: number): number[] =>
      Array.from({ length: 3 * 32 * 32 }, (_, i) => {
        const [c, y, x] = [Math.floor(i / 1024), Math.floor(i / 32) % 32, i % 32]
        const inside = Math.hypot(x - 15.5, y - 15.5) < 10
        return (inside ? [0.5, -0.1, 0.2] : [0.8, 0.8, 0.7])[(c + turn) % 3] + noise * Math.sin(i * i)
      })
    const pair = (other: number[]) =>
      device.scope(() => {
        const [a, b] = [cell(0, 0), other].map((values) => device.tensor(values, [1, 3, 32, 32]))
        return net.distance(a, b)
      })
    const distances: number[] = []
    for (const other of [cell(0, 0), cell(0.05, 0), cell(0, 1)]) {
      using distance = pair(other)
      distances.push((await distance.read())[0])
    }
    expect(distances[0]).toBe(0)
    expect(distances[1]).toBeGreaterThan(0)
    expect(distances[2]).toBeGreaterThan(3 * distances[1])
  },
  onCPU,
)

async function load(device: Device, name: string) {
  const checkpoint = await openCheckpoint(await openFile(`${folder}${name}.safetensors`))
  try {
    const description = describeModel(checkpoint)
    return { model: await loadModel(device, checkpoint, description), description, metadata: checkpoint.metadata }
  } finally {
    await checkpoint.close()
  }
}

describeShared('on cells of smears that no training has seen', () => {
  const heldOut = async (): Promise<ImageSet> =>
    applySelection(
      await openImages(shared('data/bccd_cells_32.npz')),
      readFileSync(`${folder}bccd32-split.json`, 'utf8'),
      'held-out',
    )
  const read = async (set: ImageSet, indices: number[]): Promise<Float32Array> =>
    (await imageBatch(set, indices, { size: 32, channels: 3 })).images

  deviceTest(
    'the diffusion model has the loss of its card',
    async (device) => {
      const { model, description } = await load(device, 'bccd32-adm')
      const set = await heldOut()
      const diffusion = diffusionOf(description)
      const every = Math.floor(set.length / 96)
      const { mse } = await evaluateDiffusion(device, {
        model: model as UNet,
        diffusion,
        count: 96,
        seed: 0,
        load: async (first, n) => ({
          images: await read(
            set,
            Array.from({ length: n }, (_, i) => (first + i) * every),
          ),
        }),
      })
      // All 973: 0.0291. These 96 are a part of them, with steps and noise of their own.
      expect(mse).toBeLessThan(0.036)
      model.dispose()
    },
    onCPU,
  )

  deviceTest(
    'the minority classifier puts white cells into rarer levels than red ones',
    async (device) => {
      const { model, metadata } = await load(device, 'bccd32-minority')
      const { levels, schedule, diffusionSteps } = minorityMetadata(metadata, 'bccd32-minority')!
      expect([levels, schedule, diffusionSteps]).toEqual([10, 'cosine', 1000])
      const set = await heldOut()
      const members = (label: string): number[] =>
        Array.from({ length: set.length }, (_, i) => i)
          .filter((i) => set.classes![set.labels![i]] === label)
          .slice(0, 32)
      const meanLevel = async (label: string): Promise<number> => {
        const indices = members(label)
        using images = device.tensor(await read(set, indices), [indices.length, 3, 32, 32])
        using logits = (model as Classifier).forward(
          images,
          indices.map(() => 50),
        )
        const values = await logits.read()
        const level = indices.map((_, i) => {
          const row = [...values.subarray(i * levels, (i + 1) * levels)].map(Math.exp)
          return row.reduce((sum, p, l) => sum + p * l, 0) / row.reduce((a, b) => a + b)
        })
        return level.reduce((a, b) => a + b) / level.length
      }
      expect(await meanLevel('WBC')).toBeGreaterThan(2 + (await meanLevel('RBC')))
      model.dispose()
    },
    onCPU,
  )
})
