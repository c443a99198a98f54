/**
 * WGSL of the caller's on tensors, and buffers that both sides use: in order with the ops, and refused where it must.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { add, customGradient, Device, grad, mul, sum, TweedieError, type Tensor } from '../src/index.node.ts'
import { numbers } from './op.ts'

const square = `
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&x)) { y[id.x] = x[id.x] * x[id.x]; }
}`
const scaled = `
struct Params { count: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> n: array<i32>;
@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = (id.z * grid.y + id.y) * grid.x + id.x;
  if (i < p.count) { y[i] = f32(i) * p.scale; n[i] = -i32(i); }
}`

let device: Device
beforeAll(async () => {
  device = await Device.request({ backend: 'webgpu' })
})
afterAll(() => device.dispose())

const squared = (x: Tensor): Tensor =>
  device.kernel({ wgsl: square, inputs: [x], outputs: [x.shape], workgroups: Math.ceil(x.size / 64) })[0] as Tensor

const code = async (act: () => unknown): Promise<string> => {
  try {
    await act()
  } catch (error) {
    return error instanceof TweedieError ? error.code : String(error)
  }
  return 'nothing'
}

test('reads what ops made and is read by ops, in order, and the scope owns its output', async () => {
  const values = numbers(1003, 1)
  const alive = device.stats.liveBuffers
  using x = device.tensor(values)
  using y = device.scope(() => add(squared(mul(x, 2)), 1))
  expect(device.stats.liveBuffers).toBe(alive + 2)
  const expected = Float32Array.from(await x.read(), (v) => Math.fround(Math.fround(2 * v) ** 2) + 1)
  // A compiler may fuse nothing here: product and sum are of two kernels.
  expect(await y.read()).toEqual(expected)
})

test('uniforms, a grid of three dimensions, two outputs, one of integers', async () => {
  const uniforms = new DataView(new ArrayBuffer(8))
  uniforms.setUint32(0, 23, true)
  uniforms.setFloat32(4, 0.5, true)
  const outputs = [[23], { shape: [23], dtype: 'i32' }] as const
  const [y, n] = device.kernel({ wgsl: scaled, outputs, workgroups: [2, 3, 4], uniforms })
  expect([...(await y.read())]).toEqual(Array.from({ length: 23 }, (_, i) => i / 2))
  expect([...(await n.read())]).toEqual(Array.from({ length: 23 }, (_, i) => 0 - i))
  expect(n.dtype).toBe('i32')
  y.dispose()
  n.dispose()
})

test('writes into a tensor that is there, whose old value no gradient takes for the new one', async () => {
  using x = device.tensor([1, 2, 3])
  using y = device.tensor([9, 9, 9])
  const before = y.storage.version
  const [out] = device.kernel({ wgsl: square, inputs: [x], outputs: [y], workgroups: 1 })
  expect(out).toBe(y)
  expect(y.storage.version).toBe(before + 1)
  expect([...(await y.read())]).toEqual([1, 4, 9])
})

test('has the gradient that it is given, and none otherwise', async () => {
  using x = device.tensor([1, -2, 3])
  const own = (): Tensor => customGradient(squared, (dy, t) => [mul(mul(dy, t), 2)], [x])
  const { gradients } = grad(() => sum(own()), [x])
  expect([...(await gradients[0].read())]).toEqual([2, -4, 6])
  expect(await code(() => grad(() => sum(squared(x)), [x]))).toBe('unsupported')
})

test('is replayed with what was recorded, also in a buffer of the caller', async () => {
  const buffer = device.gpuDevice.createBuffer({ size: 256, usage: 0x8c })
  using x = device.fromGPUBuffer(buffer, [3])
  x.write([1, 2, 3])
  using program = device.record(() => add(squared(x), 1), 0)
  expect([...(await program.replay(1).read())]).toEqual([2, 5, 10])
  device.gpuDevice.queue.writeBuffer(buffer, 0, Float32Array.of(-4, 5, 6))
  expect([...(await program.replay(2).read())]).toEqual([17, 26, 37])
})

describe('what is refused', () => {
  test.each<[string, string, () => unknown]>([
    [
      'reading and writing one tensor',
      'option',
      () => {
        using x = device.tensor([1])
        device.kernel({ wgsl: square, inputs: [x], outputs: [x], workgroups: 1 })
      },
    ],
    ['a workgroup count of nothing', 'option', () => device.kernel({ wgsl: square, outputs: [[1]], workgroups: 0 })],
    [
      'more workgroups than the device has',
      'limit-exceeded',
      () => device.kernel({ wgsl: square, outputs: [[1]], workgroups: 1e6 }),
    ],
    [
      'more uniforms than fit',
      'unsupported',
      () => device.kernel({ wgsl: square, outputs: [[1]], workgroups: 1, uniforms: new Uint32Array(65) }),
    ],
    [
      'an option that is none',
      'option',
      () => device.kernel({ wgsl: square, outputs: [[1]], workgroups: 1, grid: [1] } as never),
    ],
  ])('%s', async (_, expected, act) => expect(await code(act)).toBe(expected))

  test('code that does not compile, with its line, at the next read', async () => {
    using other = await Device.request({ backend: 'webgpu' })
    const wgsl = '@compute @workgroup_size(1) fn main() {\n  let x = nonsense;\n}'
    const [y] = other.kernel({ wgsl, outputs: [[1]], workgroups: 1, name: 'mine' })
    await expect(y.read()).rejects.toMatchObject({
      code: 'shader-compile',
      message: expect.stringMatching(/^mine\b.*Line 2: .*nonsense/s),
    })
  })

  test('on the CPU backend, by name', async () => {
    using cpu = await Device.request({ backend: 'cpu', threads: 1 })
    using x = cpu.tensor([1])
    expect(await code(() => cpu.kernel({ wgsl: square, inputs: [x], outputs: [[1]], workgroups: 1 }))).toBe(
      'unsupported',
    )
    expect(await code(() => x.gpuBuffer())).toBe('unsupported')
    expect(await code(() => cpu.gpuDevice)).toBe('unsupported')
    expect(await code(() => cpu.fromGPUBuffer({} as GPUBuffer, [1]))).toBe('unsupported')
  })
})

describe('buffers', () => {
  // STORAGE, COPY_SRC, COPY_DST; the globals that name them come with the first device.
  const usage = 0x8c

  test("commands of the caller's come after the ops before them and before those after", async () => {
    const { queue } = device.gpuDevice
    using x = device.tensor(numbers(100, 2))
    using y = mul(x, 3)
    const buffer = await y.gpuBuffer()
    expect(buffer.size).toBeGreaterThanOrEqual(400)
    // The caller overwrites the first element; the sum that is called later sees it.
    queue.writeBuffer(buffer, 0, Float32Array.of(1000))
    using later = add(y, 1)
    const got = await later.read()
    expect(got[0]).toBe(1001)
    expect(got[1]).toBe(Math.fround(Math.fround((await x.read())[1] * 3) + 1))
  })

  test("a caller's buffer is a tensor, and outlives it", async () => {
    const buffer = device.gpuDevice.createBuffer({ size: 1024, usage })
    device.gpuDevice.queue.writeBuffer(buffer, 0, Float32Array.of(1, 2, 3, 4, 5, 6))
    const alive = device.stats.liveBuffers
    const objects = device.stats.objectsCreated
    for (let i = 0; i < 3; i++) {
      using x = device.fromGPUBuffer(buffer, [2, 3])
      expect(x.shape).toEqual([2, 3])
      using y = mul(x, x)
      expect([...(await y.read())]).toEqual([1, 4, 9, 16, 25, 36])
      x.write([1, 2, 3, 4, 5, 6])
    }
    expect(device.stats.liveBuffers).toBe(alive)
    expect(device.stats.objectsCreated).toBeGreaterThan(objects)
    // None of the tensors made since lives in it.
    using z = device.tensor(new Float32Array(256).fill(7))
    await z.read()
    using again = device.fromGPUBuffer(buffer, [6])
    expect([...(await again.read())]).toEqual([1, 2, 3, 4, 5, 6])
    buffer.destroy()
  })

  test('one that is too small, mapped, or without a usage is refused', async () => {
    const make = (more: Partial<GPUBufferDescriptor>): GPUBuffer =>
      device.gpuDevice.createBuffer({ size: 256, usage, ...more })
    expect(await code(() => device.fromGPUBuffer(make({}), [65]))).toBe('shape')
    expect(await code(() => device.fromGPUBuffer(make({ mappedAtCreation: true }), [4]))).toBe('option')
    expect(await code(() => device.fromGPUBuffer(make({ usage: 0x80 }), [4]))).toBe('option')
  })
})
