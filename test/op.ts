/**
 * The one op-test helper. {@link checkOp} runs an op on every backend and holds each against a float64 reference on the
 * host: the values; the gradients by every input against central differences of the reference, with a random cotangent;
 * both again with the op in the middle of a graph, where a gradient rule that forgets its cotangent shows; and both
 * again with values of 1e4. Then the backends are held against each other, every element. {@link deviceTest} is a test
 * of one device, run once for each backend. After every test of a file that imports this, no buffer may be alive that
 * was not alive before it.
 */
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { kernelsModule } from '../src/tensor/cpu/module.ts'
import type { WebGPUBackend } from '../src/tensor/webgpu/backend.ts'
import {
  Device,
  grad,
  mul,
  sum,
  square,
  type AnyTensor,
  type DeviceRequest,
  type Shape,
  type Tensor,
} from '../src/tensor/index.ts'

/** An array in float64 on the host. */
export interface Host {
  readonly shape: Shape
  readonly data: Float64Array
}

export const size = (shape: Shape): number => shape.reduce((a, b) => a * b, 1)

export const host = (shape: Shape, data?: ArrayLike<number>): Host => ({
  shape,
  data: data ? Float64Array.from(data) : new Float64Array(size(shape)),
})

export type BackendName = 'webgpu' | 'webgpu, as hardware' | 'webgpu, with every kernel' | 'cpu' | 'cpu, relaxed SIMD'

/** What makes a software adapter take the branches of a GPU whose subgroups are wider than any kernel uses. */
const hardware = { software: false, subgroupSize: 0 }

const requests: Record<BackendName, DeviceRequest> = {
  webgpu: { backend: 'webgpu' },
  'webgpu, as hardware': { backend: 'webgpu', capabilities: hardware },
  // Those of hardware and, with the adapter's subgroups, those of software adapters.
  'webgpu, with every kernel': { backend: 'webgpu', capabilities: { software: false } },
  // As many threads on every machine; more than one, so that chunks really are shared out.
  cpu: { backend: 'cpu', threads: 2, simd: 'plain' },
  'cpu, relaxed SIMD': { backend: 'cpu', threads: 2, simd: 'relaxed' },
}

const hasRelaxed = WebAssembly.validate(await kernelsModule())
const known: readonly BackendName[] = hasRelaxed ? ['webgpu', 'cpu', 'cpu, relaxed SIMD'] : ['webgpu', 'cpu']

/** The CPU backend, with every kind of SIMD that this engine has. */
export const cpuBackends = known.filter((name) => name.startsWith('cpu'))

/** The backends under test. `TWEEDIE_BACKEND=cpu` leaves one of them. */
export const backends = known.filter((name) => (process.env.TWEEDIE_BACKEND ?? name) === name)

/** For the ops whose launches branch by the kind of adapter: `on: asHardware`. */
export const asHardware: readonly BackendName[] = backends.includes('webgpu') ? ['webgpu, as hardware'] : []

const devices = new Map<BackendName, Promise<Device>>()

/** A device of its own, of a backend under test. */
export const requestDevice = (backend: BackendName): Promise<Device> => Device.request(requests[backend])

/** This test file's device of a backend. A missing adapter fails the tests. */
export function testDevice(backend: BackendName = backends[0]): Promise<Device> {
  const device = devices.get(backend) ?? requestDevice(backend)
  devices.set(backend, device)
  return device
}

/**
 * Calls `f` with the first candidate of every choice between kernels forced by its name, with the second, and so on
 * until no choice has so many; where there are fewer, the last is. `forced` gives what was chosen meanwhile. All memory
 * that is allocated holds NaN before, so that an element nobody writes is seen. On the CPU backend, which has no
 * choices, `f` is called once. `names`: of all others the usual ones run.
 */
export async function eachKernel(
  device: Device,
  f: (forced: ReadonlyMap<string, string>) => Promise<void>,
  names = /./,
): Promise<void> {
  if (device.backend.kind === 'cpu') return f(new Map())
  const backend = device.backend as WebGPUBackend
  const { allocate } = backend
  backend.allocate = (bytes, reason) => {
    const storage = allocate.call(backend, bytes, reason)
    backend.write(storage, new Float32Array(storage.bytes / 4).fill(NaN))
    return storage
  }
  let most = 1
  try {
    for (let k = 0; k < most; k++) {
      const forced = new Map<string, string>()
      backend.onChoice = ({ key, candidates }) => {
        const matching = candidates.filter((candidate) => names.test(candidate))
        if (matching.length === 0) return
        const name = matching[Math.min(k, matching.length - 1)]
        most = Math.max(most, matching.length)
        backend.choices.set(key, name)
        forced.set(key, name)
      }
      await f(forced)
    }
  } finally {
    backend.allocate = allocate
    backend.onChoice = null
    backend.choices.clear()
  }
}

export interface DeviceTestOptions {
  /** Default every backend. */
  readonly on?: readonly BackendName[]
  /** Milliseconds. */
  readonly timeout?: number
}

/** A test of `body` for each backend, with this file's device of it. */
export function deviceTest(
  name: string,
  body: (device: Device) => Promise<void>,
  { on = backends, ...options }: DeviceTestOptions = {},
): void {
  for (const backend of on) test(`${name} [${backend}]`, options, async () => body(await testDevice(backend)))
}

/** For tests of what is built on the ops, and not of ops: the fastest backend is enough. */
export const onCPU: DeviceTestOptions = { on: ['cpu'] }

/** What the memory of every tensor is a multiple of, in bytes. */
export const granularity = ({ backend }: Device): number => (backend.kind === 'cpu' ? 64 : 256)

const alive = async (): Promise<Map<BackendName, number>> => {
  const counts = new Map<BackendName, number>()
  for (const [name, device] of devices) counts.set(name, (await device).stats.liveBuffers)
  return counts
}

let atStart = new Map<BackendName, number>()

beforeEach(async () => void (atStart = await alive()))

afterEach(async () => {
  for (const [name, count] of await alive())
    expect(count, `buffers alive after the test on ${name}`).toBe(atStart.get(name) ?? 0)
})

afterAll(async () => {
  const left = await alive()
  for (const device of devices.values()) (await device).dispose()
  devices.clear()
  for (const [name, count] of left) expect(count, `buffers alive at the end of the file on ${name}`).toBe(0)
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
  /** Default every backend. */
  readonly on?: readonly BackendName[]
  /** By every kernel among which an op chooses and whose name this matches: see {@link eachKernel}. */
  readonly everyKernel?: RegExp
  /** Largest error of a value, relative to the largest value. Default 2e-6: a few roundings of f32. */
  readonly tolerance?: number
  /** The same for gradients. Default 1e-4; two backends may differ by a tenth of it. */
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
export function expectClose(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
  floor = 0,
): void {
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

/** Fails unless both are the same, bit for bit; quicker than `toEqual` by far. */
export function expectSameBits(found: Float32Array, expected: Float32Array, what: string): void {
  expect(found.length, what).toBe(expected.length)
  const [a, b] = [found, expected].map(({ buffer, byteOffset, length }) => new Uint32Array(buffer, byteOffset, length))
  const first = a.findIndex((word, i) => word !== b[i])
  expect(first, `${what}: the first that differs, found ${found[first]}, expected ${expected[first]}`).toBe(-1)
}

/** See the head of this file. */
export async function checkOp(name: string, check: OpCheck): Promise<void> {
  await checkOnce(name, check, 1, false)
  if (check.midGraph !== false) await checkOnce(`${name}, mid-graph`, check, 1, true)
  if (check.large !== false) await checkOnce(`${name}, values of 1e4`, check, 1e4, false)
}

async function checkOnce(name: string, check: OpCheck, scale: number, midGraph: boolean): Promise<void> {
  const inputs = check.inputs.map(normalize).map((input, i) => {
    const { shape, dtype = 'f32' } = input
    const factor = dtype === 'f32' && input.scaled !== false ? scale : 1
    const data = Float64Array.from(input.values ?? numbers(size(shape), i + 1), (v) =>
      dtype === 'f32' ? Math.fround(v * factor) : v,
    )
    return { shape, dtype, data, factor }
  })
  const differentiate = check.differentiate ?? inputs.flatMap(({ dtype }, i) => (dtype === 'f32' ? [i] : []))
  // In the middle of a graph the differentiated inputs are made by one op, and another consumes the result.
  const factorOf = (i: number): number => (midGraph && differentiate.includes(i) ? 1.25 : 1)
  const forward = (tensors: readonly Tensor[]): Tensor => {
    const y = check.op(...tensors.map((tensor, i) => (factorOf(i) === 1 ? tensor : mul(tensor, factorOf(i)))))
    return midGraph ? square(y) : y
  }
  const reference = (arrays: readonly Float64Array[]): Host => {
    const { shape, data } = check.reference(
      ...inputs.map(({ shape }, i) => ({ shape, data: arrays[i].map((v) => v * factorOf(i)) })),
    )
    return { shape, data: midGraph ? data.map((v) => v * v) : data }
  }
  const arrays = inputs.map(({ data }) => data)
  const expected = reference(arrays)
  const cotangent = numbers(expected.data.length, 77)

  /** The values and the gradients on one device. */
  const compute = async (device: Device): Promise<{ values: ArrayLike<number>; gradients: ArrayLike<number>[] }> => {
    const before = device.stats.liveBuffers
    const tensors = inputs.map(({ data, shape, dtype }) => device.tensor(data, shape, dtype) as AnyTensor as Tensor)
    const y = device.scope(() => forward(tensors))
    const values = await y.read()
    y.dispose()
    const gradients: ArrayLike<number>[] = []
    if (differentiate.length > 0) {
      using weights = device.tensor(cotangent, expected.shape)
      const made = device.scope(() =>
        grad(
          () => sum(mul(forward(tensors), weights)),
          differentiate.map((i) => tensors[i]),
        ),
      )
      made.value.dispose()
      for (const gradient of made.gradients) {
        gradients.push(await gradient.read())
        gradient.dispose()
      }
    }
    for (const tensor of tensors) tensor.dispose()
    expect(device.stats.liveBuffers, `${name}: buffers alive afterwards`).toBe(before)
    return { values, gradients }
  }

  const on = check.on ?? backends
  const found = new Map<string, Awaited<ReturnType<typeof compute>>>()
  for (const backend of on) {
    const device = await testDevice(backend)
    if (!check.everyKernel) found.set(backend, await compute(device))
    else
      await eachKernel(
        device,
        async (forced) => {
          const result = await compute(device)
          if (device.backend.kind === 'webgpu')
            expect(forced.size, `${name}: choices that have ${check.everyKernel}`).toBeGreaterThan(0)
          found.set([backend, ...forced.values()].join(', '), result)
        },
        check.everyKernel,
      )
  }

  const tolerance = (check.tolerance ?? 2e-6) * (midGraph ? 3 : 1)
  for (const [backend, { values }] of found) expectClose(values, expected.data, tolerance, `${name} [${backend}]`)

  const gradientTolerance = check.gradientTolerance ?? 1e-4
  if (found.size === 0) return
  const [[first, one]] = found
  for (const [k, i] of differentiate.entries()) {
    const { length } = arrays[i]
    const probes = Math.min(check.probes ?? 20, length)
    const picks = Array.from({ length: probes }, (_, j) =>
      probes === length ? j : Math.floor(((j + 0.5) * length) / probes),
    )
    const numeric = picks.map((at) => {
      const h = 1e-5 * inputs[i].factor
      const shifted = (by: number): number => {
        const moved = arrays[i].slice()
        moved[at] += by
        return reference(arrays.map((a, j) => (j === i ? moved : a))).data.reduce(
          (total, v, j) => total + v * cotangent[j],
          0,
        )
      }
      return (shifted(h) - shifted(-h)) / (2 * h)
    })
    for (const [backend, { gradients }] of found) {
      const what = `${name} [${backend}]: gradient by input ${i}`
      expectClose(
        picks.map((at) => gradients[k][at]),
        numeric,
        gradientTolerance,
        what,
        largest(gradients[k]),
      )
      // Differences are taken for a few elements, and are no better than that; two backends differ by rounding,
      // anywhere.
      if (backend !== first)
        expectClose(gradients[k], one.gradients[k], gradientTolerance / 10, `${what}, against ${first}`)
    }
  }
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
