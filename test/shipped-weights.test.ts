/** What lies in weights/: small enough, each file with a card, and each doing what its card says it is for. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parseSelection } from '../src/data/index.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { loadFeatureNet } from '../src/nn/index.ts'
import { deviceTest, onCPU } from './op.ts'

const folder = fileURLToPath(new URL('../weights/', import.meta.url))
const files = readdirSync(folder)

test('all weights together are smaller than 25 MB, and each has a model card', () => {
  expect(files.reduce((sum, name) => sum + statSync(folder + name).size, 0)).toBeLessThan(25e6)
  const cards = files.filter((name) => name.endsWith('.safetensors')).map((name) => name.replace('.safetensors', '.md'))
  expect(cards.length).toBeGreaterThan(1)
  for (const card of cards) expect(readFileSync(folder + card, 'utf8'), card).toMatch(/not for diagnosis/)
})

test('one fifth of the smears is held out', () => {
  const { parts, how } = parseSelection(readFileSync(`${folder}bccd32-split.json`, 'utf8'))
  expect(how).toEqual({ holdOut: 0.2, by: 'source_image', seed: 0 })
  const both = [...parts.train!, ...parts['held-out']!]
  expect([parts.train!.length, parts['held-out']!.length, new Set(both).size]).toEqual([3913, 973, 4886])
})

deviceTest('the feature net finds a picture nearest to itself, then to its noisy copy, then to its turned colours', async (device) => {
  const checkpoint = await openCheckpoint(await openFile(`${folder}bccd32-features.safetensors`))
  using net = await loadFeatureNet(device, checkpoint)
  await checkpoint.close()
  // A dark disc on a light ground, redder than blue.
  const cell = (noise: number, turn: number): number[] => Array.from({ length: 3 * 32 * 32 }, (_, i) => {
    const [c, y, x] = [Math.floor(i / 1024), Math.floor(i / 32) % 32, i % 32]
    const inside = Math.hypot(x - 15.5, y - 15.5) < 10
    return (inside ? [0.5, -0.1, 0.2] : [0.8, 0.8, 0.7])[(c + turn) % 3]! + noise * Math.sin(i * i)
  })
  const pair = (other: number[]) => device.scope(() => {
    const [a, b] = [cell(0, 0), other].map((values) => device.tensor(values, [1, 3, 32, 32]))
    return net.distance(a!, b!)
  })
  const distances: number[] = []
  for (const other of [cell(0, 0), cell(0.05, 0), cell(0, 1)]) {
    using distance = pair(other)
    distances.push((await distance.read())[0]!)
  }
  expect(distances[0]).toBe(0)
  expect(distances[1]).toBeGreaterThan(0)
  expect(distances[2]).toBeGreaterThan(3 * distances[1]!)
}, onCPU)
