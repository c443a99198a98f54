/**
 * What the networks' passes ask of a GPU (dispatches, barriers, submissions, objects, bytes, workgroups), counted
 * without one and held against bench/gpu/counts.json: a change of it must be meant.
 */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { countTable } from '../bench/gpu/count-table.ts'
import { CountingGPU, levelsOf } from '../bench/gpu/counting-gpu.ts'

test('the passes ask of a GPU what counts.json says', async () => {
  const file = readFileSync(new URL('../bench/gpu/counts.json', import.meta.url), 'utf8')
  const meant = 'If this change is meant: bench/run.sh gpu/counts.ts --write, and the reason in the commit.'
  expect((await countTable()).split('\n'), meant).toEqual(file.split('\n'))
})

test('every layer of ADM-64 with arithmetic has 132 workgroups at batch 1', () => {
  const file = readFileSync(new URL('../bench/gpu/counts.json', import.meta.url), 'utf8')
  const { layers } = JSON.parse(file) as { layers: Record<string, Record<string, string>> }
  const rows = Object.entries(layers['ADM-64 eager guided step b1'])
  expect(rows.length).toBeGreaterThan(40)
  // What adds a cut sum's parts has a thread for four outputs, of which the last layer has 24,576.
  const narrow = rows.filter(([, ran]) =>
    ran
      .split('; ')
      .filter((kernel) => !kernel.startsWith('sum-splits'))
      .some(
        (kernel) =>
          /: (\d+)x(\d+)x(\d+)/
            .exec(kernel)!
            .slice(1)
            .map(Number)
            .reduce((x, y) => x * y) < 132,
      ),
  )
  expect(narrow.map(([layer]) => layer)).toEqual([])
})

test('barriers and levels of commands known by hand', () => {
  const gpu = new CountingGPU()
  const { device } = gpu
  const [a, b, c] = [0, 1, 2].map(() => device.createBuffer({ size: 256, usage: 0 }))
  const copies = (...pairs: [GPUBuffer, GPUBuffer][]): void => {
    const encoder = device.createCommandEncoder()
    for (const [from, to] of pairs) encoder.copyBufferToBuffer(from, 0, to, 0, 256)
    device.queue.submit([encoder.finish()])
  }
  // Nothing was used before.
  copies([a, b])
  expect([gpu.barriers, levelsOf(gpu.commands)]).toEqual([0, 1])
  // b was written: its reader waits. Once it has, the next reader need not; but c is written a second time.
  copies([b, c], [b, c])
  expect([gpu.barriers, levelsOf(gpu.commands), gpu.submits]).toEqual([2, 3, 2])
  // a was read only: who writes it waits all the same.
  gpu.forget()
  device.queue.writeBuffer(a, 0, new Uint8Array(256))
  expect([gpu.barriers, levelsOf(gpu.commands), gpu.objects]).toEqual([1, 1, 0])
})
