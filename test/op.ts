/**
 * The one op-test helper. {@link checkOp} runs an op on the device and holds it against a float64 reference on the host:
 * the values; the gradients by every input against central differences of the reference, with a random cotangent; both
 * again with the op in the middle of a graph, where a gradient rule that forgets its cotangent shows; and both again with
 * values of 1e4. After every test of a file that imports this, no buffer may be alive that was not alive before it.
 */
import { afterAll, afterEach, beforeEach, expect } from 'vitest'
import { Device, grad, mul, sum, square, type AnyTensor, type Shape, type Tensor } from '../src/tensor/index.ts'

/** An array in float64 on the host. */
export interface Host {
  readonly shape: Shape
  readonly data: Float64Array
}

export const size = (shape: Shape): number => shape.reduce((a, b) => a * b, 1)

export const host = (shape: Shape, data?: ArrayLike<number>): Host => ({ shape, data: data ? Float64Array.from(data) : new Float64Array(size(shape)) })

let shared: Promise<Device> | null = null

/** The device of this test file, of the backend under test. A missing adapter fails the tests. */
export function testDevice(): Promise<Device> {
  shared ??= Device.request({ backend: process.env.TWEEDIE_BACKEND === 'cpu' ? 'cpu' : 'webgpu' })
  return shared
}

let atStart = 0

const alive = async (): Promise<number> => (await shared)?.stats.liveBuffers ?? 0

beforeEach(async () => void (atStart = await alive()))

afterEach(async () => {
  expect(await alive(), 'buffers alive after the test').toBe(atStart)
})

afterAll(async () => {
  const device = await shared
  shared = null
  const left = device?.stats.liveBuffers ?? 0
  device?.dispose()
  expect(left, 'buffers alive at the end of the file').toBe(0)
})

/** Repeatable numbers, uniform in [-1, 1), from a 32-bit mix of the index. */
export function numbers(count: number, seed: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    let h = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d)
    h = Math.imul(h ^ (h >>> 15), 0x846ca68b)
    return Math.fround((h ^ (h >>> 16)) / 2 ** 31)
  })
}

export interface Input {
  readonly shape: Shape
  /** Default uniform in [-1, 1). */
  readonly values?: ArrayLike<number>
  /** i32 and u32 inputs are not differentiated. */
  readonly dtype?: 'f32' | 'i32' | 'u32'
  /** Whether `large` multiplies it by 1e4; default true for f32. */
  readonly scaled?: boolean
}

export interface OpCheck {
  readonly inputs: readonly (Shape | Input)[]
  readonly op: (...inputs: Tensor[]) => Tensor
  readonly reference: (...inputs: Host[]) => Host
  /** Largest error of a value, relative to the largest value. Default 2e-6: a few roundings of f32. */
  readonly tolerance?: number
  /** The same for gradients. Default 1e-4. */
  readonly gradientTolerance?: number
  /** Inputs to differentiate by; default every f32 one. Empty for ops without a gradient. */
  readonly differentiate?: readonly number[]
  /** Also with inputs multiplied by 1e4. Default true. */
  readonly large?: boolean
  /** Also inside a larger graph. Default true. */
  readonly midGraph?: boolean
  /** Gradient elements compared per input. Default 20. */
  readonly probes?: number
}

/** What GPUs may flush to 0. */
const denormal = 2 ** -126

const normalize = (input: Shape | Input): Input => ('shape' in input ? input : { shape: input })

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((m, v) => Math.max(m, Math.abs(v)), 0)

/** Fails unless |found - expected| <= tolerance * max|expected| everywhere, saying where it is worst. */
export function expectClose(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string, floor = 0): void {
  expect(found.length, `${what}: number of elements`).toBe(expected.length)
  const scale = Math.max(largest(expected), floor)
  let worst = 0
  let at = 0
  for (let i = 0; i < found.length; i++) {
    const error = Math.abs(found[i] - expected[i])
    if (!(error <= worst)) [worst, at] = [error, i]
    if (Number.isNaN(error)) break
  }
  const message = `${what}: worst at ${at}: found ${found[at]}, expected ${expected[at]}, largest expected ${scale}`
  expect(worst, message).toBeLessThanOrEqual(tolerance * scale + denormal)
}

/** See the head of this file. */
export async function checkOp(name: string, check: OpCheck): Promise<void> {
  await checkOnce(name, check, 1, false)
  if (check.midGraph !== false) await checkOnce(`${name}, mid-graph`, check, 1, true)
  if (check.large !== false) await checkOnce(`${name}, values of 1e4`, check, 1e4, false)
}

async function checkOnce(name: string, check: OpCheck, scale: number, midGraph: boolean): Promise<void> {
  const device = await testDevice()
  const before = device.stats.liveBuffers
  const inputs = check.inputs.map(normalize).map((input, i) => {
    const { shape, dtype = 'f32' } = input
    const factor = dtype === 'f32' && input.scaled !== false ? scale : 1
    const data = Float64Array.from(input.values ?? numbers(size(shape), i + 1), (v) => (dtype === 'f32' ? Math.fround(v * factor) : v))
    return { shape, dtype, data, tensor: device.tensor(data, shape, dtype) as AnyTensor as Tensor, factor }
  })
  const differentiate = check.differentiate ?? inputs.flatMap(({ dtype }, i) => (dtype === 'f32' ? [i] : []))
  // In the middle of a graph the differentiated inputs are made by one op, and another consumes the result.
  const factorOf = (i: number): number => (midGraph && differentiate.includes(i) ? 1.25 : 1)
  const forward = (): Tensor => {
    const y = check.op(...inputs.map(({ tensor }, i) => (factorOf(i) === 1 ? tensor : mul(tensor, factorOf(i)))))
    return midGraph ? square(y) : y
  }
  const reference = (arrays: readonly Float64Array[]): Float64Array => {
    const y = check.reference(...inputs.map(({ shape }, i) => ({ shape, data: arrays[i].map((v) => v * factorOf(i)) }))).data
    return midGraph ? y.map((v) => v * v) : y
  }
  const arrays = inputs.map(({ data }) => data)
  const expected = reference(arrays)
  const tolerance = (check.tolerance ?? 2e-6) * (midGraph ? 3 : 1)

  const y = device.scope(forward)
  expectClose(await y.read(), expected, tolerance, name)
  y.dispose()

  if (differentiate.length > 0) {
    const cotangent = numbers(expected.length, 77)
    const weights = device.tensor(cotangent, check.reference(...inputs).shape)
    const { value, gradients } = device.scope(() => grad(() => sum(mul(forward(), weights)), differentiate.map((i) => inputs[i].tensor)))
    value.dispose()
    weights.dispose()
    for (const [k, i] of differentiate.entries()) {
      const found = await gradients[k].read()
      const probes = Math.min(check.probes ?? 20, found.length)
      const picks = Array.from({ length: probes }, (_, j) => (probes === found.length ? j : Math.floor(((j + 0.5) * found.length) / probes)))
      const numeric = picks.map((at) => {
        const h = 1e-5 * inputs[i].factor
        const shifted = (by: number): number => {
          const moved = arrays[i].slice()
          moved[at] += by
          return reference(arrays.map((a, j) => (j === i ? moved : a))).reduce((total, v, j) => total + v * cotangent[j], 0)
        }
        return (shifted(h) - shifted(-h)) / (2 * h)
      })
      expectClose(picks.map((at) => found[at]), numeric, check.gradientTolerance ?? 1e-4, `${name}: gradient by input ${i}`, largest(found))
      gradients[k].dispose()
    }
  }
  for (const { tensor } of inputs) tensor.dispose()
  expect(device.stats.liveBuffers, `${name}: buffers alive afterwards`).toBe(before)
}

/** Index arithmetic for references: calls `visit` with every index of `shape` and its flat position. */
export function eachIndex(shape: Shape, visit: (index: readonly number[], flat: number) => void): void {
  const index = shape.map(() => 0)
  for (let flat = 0; flat < size(shape); flat++) {
    visit(index, flat)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break
      index[axis] = 0
    }
  }
}

/** Flat position of `index` in `shape`, with broadcasting: extents of 1 count as index 0. */
export function at(shape: Shape, index: readonly number[]): number {
  const skip = index.length - shape.length
  return shape.reduce((flat, n, i) => flat * n + (n === 1 ? 0 : index[skip + i]), 0)
}
