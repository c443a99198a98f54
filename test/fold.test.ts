/** Batch norm folded into the convolution ahead of it: the same numbers as the norm itself, in double precision. */
import { expect, test } from 'vitest'
import { batchNormEntries, foldedStateDict, loadFolded } from '../src/nn/fold.ts'
import type { WeightEntry, WeightSource } from '../src/nn/index.ts'
import { conv2d } from '../src/tensor/index.ts'
import { deviceTest, expectClose, numbers, onCPU, size, testDevice } from './op.ts'

const pairs = new Map([['conv', 'bn']])
const stateDict = new Map<string, number[]>([
  ['conv.weight', [5, 3, 1, 3]],
  ...batchNormEntries('bn', 5),
  ['fc.weight', [2, 5]],
])

const valuesOf = (key: string): Float32Array => {
  const shape = stateDict.get(key)!
  const offset = key === 'bn.weight' ? 1 : key === 'bn.running_var' ? 1.5 : 0
  return Float32Array.from(numbers(size(shape), key.length), (v) => v + offset)
}

const source = (changed: Readonly<Record<string, WeightEntry>> = {}): WeightSource => {
  const entries = [...stateDict].map(([key, shape]): [string, WeightEntry] => [
    key,
    { shape, byteLength: 4 * size(shape), read: async () => valuesOf(key) },
  ])
  return { name: 'small.pth', tensors: new Map([...entries, ...Object.entries(changed)]) }
}

deviceTest('a folded convolution is the convolution and its norm', async (device) => {
  const epsilon = 0.1
  const counter: WeightEntry = { shape: [], byteLength: 8, read: async () => new BigInt64Array(1) }
  const parameters = await loadFolded(device, source({ 'bn.num_batches_tracked': counter }), stateDict, pairs, epsilon)
  expect([...parameters].map(([key, { shape }]) => [key, shape])).toEqual([
    ['conv.weight', [5, 3, 1, 3]],
    ['conv.bias', [5]],
    ['fc.weight', [2, 5]],
  ])
  using x = device.tensor(numbers(2 * 3 * 4 * 6, 9), [2, 3, 4, 6])
  using plainWeight = device.tensor(valuesOf('conv.weight'), [5, 3, 1, 3])
  using folded = conv2d(x, parameters.get('conv.weight')!, { bias: parameters.get('conv.bias') })
  using plain = conv2d(x, plainWeight)
  const norm = (name: string, c: number): number => valuesOf(`bn.${name}`)[c]
  const expected = (await plain.read()).map((v, i) => {
    const c = Math.floor(i / 16) % 5
    return (
      ((v - norm('running_mean', c)) / Math.sqrt(norm('running_var', c) + epsilon)) * norm('weight', c) +
      norm('bias', c)
    )
  })
  expectClose(await folded.read(), expected, 2e-6, 'folded')
  for (const tensor of parameters.values()) tensor.dispose()
})

test('the folded state dict has a bias for each convolution and no norm', () => {
  expect([...foldedStateDict(stateDict, pairs)]).toEqual([
    ['conv.weight', [5, 3, 1, 3]],
    ['conv.bias', [5]],
    ['fc.weight', [2, 5]],
  ])
})

test('what is wrong with a norm is said by the name that the file gives it', async () => {
  const device = await testDevice(onCPU.on![0])
  const load = (changed: Readonly<Record<string, WeightEntry>>): Promise<unknown> =>
    loadFolded(device, source(changed), stateDict, pairs, 1e-5)
  const entry = (values: ArrayBufferView, shape = [5]): WeightEntry => ({
    shape,
    byteLength: 20,
    read: async () => values,
  })
  await expect(load({ 'bn.running_var': entry(Float32Array.of(1, 1, NaN, 1, 1)) })).rejects.toThrow(
    /^small.pth: bn.running_var: expected finite weights/,
  )
  await expect(load({ 'bn.bias': entry(Int32Array.of(1, 1, 1, 1, 1)) })).rejects.toThrow(
    'small.pth: bn.bias: expected floating-point weights',
  )
  await expect(load({ 'bn.weight': entry(new Float32Array(4), [4]) })).rejects.toThrow('bn.weight [4] instead of [5]')
})
