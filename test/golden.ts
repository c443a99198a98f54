/** Reading goldens: whole files into host arrays, and the measures the goldens are held to. */
import { expect } from 'vitest'
import { openSafetensors } from '../src/io/index.ts'
import { openFile } from '../src/io/index.node.ts'
import { describeModel, loadModel, type Classifier, type UNet } from '../src/nn/index.ts'
import type { Device, Shape, Tensor } from '../src/tensor/index.ts'
import { shared } from './shared.ts'

export interface GoldenArray {
  readonly shape: Shape
  readonly data: ArrayLike<number>
}

export interface Golden {
  readonly arrays: ReadonlyMap<string, GoldenArray>
  readonly metadata: Readonly<Record<string, string>>
}

export async function readGolden(path: string): Promise<Golden> {
  const file = await openSafetensors(await openFile(shared(path)))
  const arrays = new Map<string, GoldenArray>()
  for (const [name, entry] of file.tensors)
    arrays.set(name, { shape: entry.shape, data: (await entry.read()) as unknown as ArrayLike<number> })
  await file.close()
  return { arrays, metadata: file.metadata }
}

export function arrayNamed(golden: Golden, name: string): GoldenArray {
  const found = golden.arrays.get(name)
  if (!found) throw new Error(`the golden has no ${name}`)
  return found
}

export function tensorNamed(device: Device, golden: Golden, name: string): Tensor {
  const { shape, data } = arrayNamed(golden, name)
  return device.tensor(data, shape)
}

export async function loadGoldenModel(device: Device, path: string, json?: string): Promise<UNet | Classifier> {
  const file = await openSafetensors(await openFile(shared(path)))
  const model = await loadModel(device, file, describeModel(file, json === undefined ? {} : { json }))
  await file.close()
  return model
}

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((m, v) => Math.max(m, Math.abs(v)), 0)

function worst(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let error = 0
  for (let i = 0; i < expected.length; i++) {
    const e = Math.abs(found[i] - expected[i])
    if (!(e <= error)) error = e
  }
  return error
}

/** max|a - b| <= 1e-4 max|b|, or what `tolerance` says in its place. */
export function expectOutput(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  what: string,
  tolerance = 1e-4,
): void {
  expect(found.length, what).toBe(expected.length)
  expect(
    worst(found, expected) / largest(expected),
    `${what}: error relative to the largest value`,
  ).toBeLessThanOrEqual(tolerance)
}

/** max|a - b| <= 1e-3 max|b| + 1e-4. */
export function expectGradient(found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  expect(found.length, what).toBe(expected.length)
  expect(worst(found, expected), `${what}: largest expected ${largest(expected)}`).toBeLessThanOrEqual(
    1e-3 * largest(expected) + 1e-4,
  )
}

/** Peak signal-to-noise ratio in dB of images in [-1, 1]. */
export function psnr(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < expected.length; i++) sum += (found[i] - expected[i]) ** 2
  return 10 * Math.log10(4 / (sum / expected.length))
}
