/** The playground's runs: two arms in turns, what the scrubber keeps of them, what is given back; its tenths. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { closeArms, drawArms, frameAt, type Arm } from '../site/playground/run.ts'
import { rarityOf, tenths } from '../site/playground/rarity.ts'
import { start } from '../site/playground/state.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { weights } from './cli.ts'

/** What a step of the client's has instead of an ImageBitmap, which Node lacks. */
class Bitmap {
  static readonly open = new Set<Bitmap>()
  constructor() {
    Bitmap.open.add(this)
  }
  close(): void {
    if (!Bitmap.open.delete(this)) throw new Error('closed twice')
  }
}

/** A client that draws nothing: batches of two, as `Tweedie.sample` tells of them. */
function fake(steps: number, imageSize = 4) {
  const ended: string[] = []
  const begun: unknown[] = []
  async function* sample({ method = 'plain', number = 0 }: { method?: string; number?: number }) {
    begun.push(method)
    try {
      for (let done = 1; done <= (steps * number) / 2; done++) {
        const batch = Math.ceil(done / steps) - 1
        const last = done % steps === 0
        // Pictures that were finished a step before are not sent again.
        const known = done % steps === 1 ? 2 * (batch - 1) : 2 * batch
        const images = Array.from({ length: 2 * (batch + 1) }, (_, k) => (k < known ? null : new Bitmap()))
        const pushes = [new Float32Array(16).fill(done), new Float32Array(16)]
        const scores = new Float32Array(2 * (last ? batch + 1 : batch)).fill(1)
        yield { done, total: (steps * number) / 2, finished: 0, images, scores, ...(method !== 'plain' && { pushes }) }
      }
    } finally {
      ended.push(method)
    }
  }
  return { client: { sample, info: { imageSize } } as unknown as Parameters<typeof drawArms>[0], ended, begun }
}

const model = { name: 'bccd32', classes: null }

test('arms take turns, and pushes belong to the pictures of their batch', async () => {
  const { client, ended } = fake(10)
  const turns: number[][] = []
  let arms: readonly Arm[] = []
  const { signal } = new AbortController()
  for await (arms of drawArms(client, { state: { ...start, number: 4 }, model, details: true, signal }))
    turns.push(arms.map(({ done }) => done))
  expect(turns.slice(0, 4)).toEqual([
    [1, 0],
    [1, 1],
    [2, 1],
    [2, 2],
  ])
  expect(turns.at(-1)).toEqual([20, 20])
  expect(ended.sort()).toEqual(['minority-guided', 'plain'])
  const [plain, guided] = arms
  expect(plain.frames).toHaveLength(20)
  expect(plain.frames[4].pushes).toEqual([undefined, undefined])
  expect(frameAt(guided, 5)?.pushes[0]?.[0]).toBe(5)
  const late = frameAt(guided, 15)!
  expect(late.images).toHaveLength(4)
  expect(late.pushes.map((push) => push?.[0])).toEqual([undefined, undefined, 15, 0])
  expect(guided.most).toBe(20)
  expect(Array.from(guided.scores)).toEqual([1, 1, 1, 1])
  closeArms(arms)
  expect(Bitmap.open.size).toBe(0)
})

test('of many steps frames are kept evenly, and of large pictures few; nothing else stays open', async () => {
  for (const [steps, size, most] of [
    [250, 4, 64],
    [40, 512, 16],
  ]) {
    const { client } = fake(steps, size)
    let arms: readonly Arm[] = []
    const { signal } = new AbortController()
    for await (arms of drawArms(client, { state: { ...start, number: 2, b: 'none' }, model, details: true, signal })) {
      expect(arms[0].frames.length).toBeLessThanOrEqual(most + 1)
      expect(arms[0].frames.at(-1)!.done).toBe(arms[0].done)
    }
    const shown = arms[0].frames.map(({ done }) => done)
    const gaps = shown.slice(1).map((done, k) => done - shown[k])
    expect(Math.max(...gaps)).toBe(Math.ceil(steps / most))
    expect(Bitmap.open.size).toBe(2 * shown.length)
    closeArms(arms)
    expect(Bitmap.open.size).toBe(0)
  }
})

test('who leaves ends both arms', async () => {
  const { client, ended } = fake(10)
  const { signal } = new AbortController()
  for await (const arms of drawArms(client, { state: { ...start, number: 2 }, model, details: true, signal })) {
    if (arms[1].done < 3) continue
    closeArms(arms)
    break
  }
  expect(ended.sort()).toEqual(['minority-guided', 'plain'])
  expect(Bitmap.open.size).toBe(0)
})

test('tenths of the training cells are the thresholds of the shipped classifier', async () => {
  const file = await openCheckpoint(await openFile(join(weights, '../bccd32-minority.safetensors')))
  const { thresholds } = JSON.parse(file.metadata.minority) as { thresholds: number[] }
  await file.close()
  // The last is the highest score.
  expect(thresholds).toHaveLength(tenths.length + 1)
  tenths.forEach((tenth, k) => expect(tenth).toBeCloseTo(thresholds[k], 6))
  expect(rarityOf(0.1)).toBe('among the commonest tenth of the training cells')
  expect(rarityOf(tenths[0])).toBe('rarer than 10 % of the training cells')
  expect(rarityOf(9)).toBe('rarer than 90 % of the training cells')
})
