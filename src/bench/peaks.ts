/**
 * What a device reaches at most, measured by the simplest kernels there are, in the same run as the figures that are
 * held against it: multiply-adds that wait for nothing, bytes read and copied, and what a dispatch and a submission
 * cost by themselves.
 */
import { add, matmul, type Device, type Tensor } from '../tensor/index.ts'
import { timeRuns, type Stopwatch, type TimingOptions } from './timing.ts'

/** Per second, but for the costs, which are in microseconds. */
export interface Peaks {
  readonly flops: number
  /** In 16-bit floats; null where the device has none. */
  readonly halfFlops: number | null
  /** Bytes read, and bytes read plus bytes written. */
  readonly read: number
  readonly copy: number
  /** Bytes that threads read of the memory of their workgroup; null on the CPU backend. */
  readonly workgroupRead: number | null
  /** A dispatch of one workgroup that waits for no other, and one that waits for the last. */
  readonly dispatchMicroseconds: number
  readonly barrierMicroseconds: number
  /** What the host takes to enqueue one. */
  readonly hostMicroseconds: number
  /** What it takes to encode an empty compute pass and to submit it; null on the CPU backend. */
  readonly submitMicroseconds: number | null
  /** A wait for nothing, and a read of four bytes. */
  readonly waitMilliseconds: number
  readonly readMilliseconds: number
}

/** {@link measurePeaks}' options. */
export interface PeakOptions extends TimingOptions {
  /** Bytes that are read and copied: more than caches hold. Default 256 MiB, or what a tensor may have. */
  readonly bytes?: number
  /** Workgroups of 64 that multiply and add. Default 4,096. */
  readonly workgroups?: number
}

/** 8 chains of vectors, so that an instruction need not wait for the last one's result. */
const chains = 8
const turns = 256

/** Multiply-adds of four lanes in `chains` chains; what is stored depends on all of them. */
const fmaKernel = (type: 'f32' | 'f16'): string => `
${type === 'f16' ? 'enable f16;' : ''}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = vec4<${type}>(${type}(x[0]));
  let b = vec4<${type}>(${type}(x[1]));
  ${Array.from({ length: chains }, (_, i) => `var c${i} = vec4<${type}>(${type}(id.x % 64u) + ${i}) * b;`).join('\n  ')}
  for (var turn = 0; turn < ${turns}; turn++) {
    ${Array.from({ length: chains }, (_, i) => `c${i} = fma(c${i}, a, b);`).join('\n    ')}
  }
  let sum = ${Array.from({ length: chains }, (_, i) => `c${i}`).join(' + ')};
  y[id.x % 64u + 64u * (id.x / 64u % 1024u)] = f32(sum.x + sum.y + sum.z + sum.w);
}`

/** A thread's vectors lie a whole grid apart, so that neighbours read neighbours. */
const bytesKernel = (copies: boolean): string => `
@group(0) @binding(0) var<uniform> p: vec4u;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let step = grid.x * 256u;
  ${
    copies
      ? 'for (var i = id.x; i < p.x; i += step) { y[i] = x[i]; }'
      : `var sum = vec4f();
  for (var i = id.x; i < p.x; i += step) { sum += x[i]; }
  y[id.x] = sum;`
  }
}`

/** All of the 16 KiB that every device has, each thread another vector; what is read next depends on the turn. */
const sharedKernel = `
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
var<workgroup> held: array<vec4f, 1024>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) at: u32, @builtin(workgroup_id) group: vec3u) {
  for (var i = at; i < 1024u; i += 256u) { held[i] = vec4f(x[i % 2u]); }
  workgroupBarrier();
  var sum = vec4f();
  for (var turn = 0u; turn < ${turns}u; turn++) { sum += held[(at + 32u * turn) % 1024u]; }
  y[at + 256u * (group.x % 256u)] = sum.x + sum.y + sum.z + sum.w;
}`

const oneKernel = `
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { y[i] = f32(i); }`

/** Measures them all, in some seconds. */
export async function measurePeaks(device: Device, stopwatch: Stopwatch, options: PeakOptions = {}): Promise<Peaks> {
  const { bytes: wanted = 2 ** 28, workgroups = 4096, ...timing } = options
  const limit = Math.min(device.adapter.maxBindingBytes, device.adapter.maxBufferBytes)
  const bytes = Math.min(wanted, Math.floor(limit / 2))
  const waits = await waitsOf(device)
  const rest = device.backend.gpu
    ? await ofGPU(device, stopwatch, bytes, workgroups, timing)
    : await ofCPU(device, stopwatch, Math.min(bytes, 2 ** 26), timing)
  return { ...rest, ...waits }
}

async function waitsOf(device: Device): Promise<Pick<Peaks, 'waitMilliseconds' | 'readMilliseconds'>> {
  using one = device.tensor([1])
  const timed = async (act: () => Promise<unknown>): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < 15; i++) {
      const start = performance.now()
      await act()
      times.push(performance.now() - start)
    }
    return times.sort((a, b) => a - b)[7]
  }
  return {
    waitMilliseconds: await timed(() => device.flush()),
    readMilliseconds: await timed(() => one.read()),
  }
}

type Reached = Omit<Peaks, 'waitMilliseconds' | 'readMilliseconds'>

async function ofGPU(
  device: Device,
  stopwatch: Stopwatch,
  bytes: number,
  workgroups: number,
  timing: TimingOptions,
): Promise<Reached> {
  const half = device.gpuDevice.features.has('shader-f16')
  using factors = device.tensor([0.5, 0.25])
  using sums = device.tensor(new Float32Array(65536))
  const count = Math.floor(bytes / 16)
  using from = device.tensor(new Float32Array(count * 4).fill(1))
  using to = device.tensor(new Float32Array(count * 4))
  const fma = (type: 'f32' | 'f16') => (): void =>
    void device.kernel({ wgsl: fmaKernel(type), inputs: [factors], outputs: [sums], workgroups })
  const grid = Math.min(2048, Math.ceil(count / 256))
  const moved = (copies: boolean) => (): void =>
    void device.kernel({
      wgsl: bytesKernel(copies),
      inputs: [from],
      outputs: [to],
      workgroups: grid,
      uniforms: Uint32Array.of(count, 0, 0, 0),
    })
  const ones = Array.from({ length: 64 }, () => device.tensor(new Float32Array(64)))
  const dispatches = 256
  const small = (tensors: readonly Tensor[]) => (): void => {
    for (let i = 0; i < dispatches; i++)
      device.kernel({ wgsl: oneKernel, outputs: [tensors[i % tensors.length]], workgroups: 1 })
  }
  try {
    const shared = (): void =>
      void device.kernel({ wgsl: sharedKernel, inputs: [factors], outputs: [sums], workgroups })
    const runs = [fma('f32'), moved(false), moved(true), small(ones), small(ones.slice(0, 1)), shared]
    const times = await timeRuns(half ? [...runs, fma('f16')] : runs, stopwatch, timing)
    const [full, read, copy, independent, chained, local, halved] = times.map(({ ms }) => ms)
    const flops = 2 * 4 * chains * turns * 64 * workgroups
    const start = performance.now()
    small(ones)()
    const host = performance.now() - start
    await device.flush()
    return {
      flops: flops / (full / 1e3),
      halfFlops: half ? flops / (halved / 1e3) : null,
      read: (count * 16) / (read / 1e3),
      copy: (2 * count * 16) / (copy / 1e3),
      dispatchMicroseconds: (independent * 1e3) / dispatches,
      barrierMicroseconds: (chained * 1e3) / dispatches,
      workgroupRead: (16 * 256 * turns * workgroups) / (local / 1e3),
      hostMicroseconds: (host * 1e3) / dispatches,
      submitMicroseconds: await submitCost(device),
    }
  } finally {
    for (const one of ones) one.dispose()
  }
}

/** Microseconds, by the host's clock, the median of 9 times 32. */
async function submitCost(device: Device): Promise<number> {
  const { gpuDevice } = device
  const times: number[] = []
  for (let i = 0; i < 9; i++) {
    const start = performance.now()
    for (let k = 0; k < 32; k++) {
      const encoder = gpuDevice.createCommandEncoder()
      encoder.beginComputePass().end()
      gpuDevice.queue.submit([encoder.finish()])
    }
    times.push(performance.now() - start)
    await device.flush()
  }
  // A browser's clock may not tell so little.
  return Math.max(1e-3, (times.sort((a, b) => a - b)[4] * 1e3) / 32)
}

/** The CPU runs no WGSL: its multiply-adds are those of a matrix product, its copy is x + 1 over many. */
async function ofCPU(device: Device, stopwatch: Stopwatch, bytes: number, timing: TimingOptions): Promise<Reached> {
  const [count, side, dispatches] = [Math.floor(bytes / 4), 512, 256]
  using many = device.tensor(new Float32Array(count).fill(0.5))
  using square = device.tensor(new Float32Array(side * side).fill(0.5), [side, side])
  using one = device.tensor([1])
  const run = (act: () => Tensor) => (): void => act().dispose()
  const small = (): void => {
    for (let i = 0; i < dispatches; i++) add(one, 1).dispose()
  }
  const runs = [run(() => matmul(square, square)), run(() => add(many, 1)), small]
  const [full, copy, chained] = (await timeRuns(runs, stopwatch, timing)).map(({ ms }) => ms)
  const start = performance.now()
  small()
  const host = performance.now() - start
  await device.flush()
  return {
    flops: (2 * side ** 3) / (full / 1e3),
    halfFlops: null,
    read: (2 * count * 4) / (copy / 1e3),
    copy: (2 * count * 4) / (copy / 1e3),
    workgroupRead: null,
    dispatchMicroseconds: (chained * 1e3) / dispatches,
    barrierMicroseconds: (chained * 1e3) / dispatches,
    hostMicroseconds: (host * 1e3) / dispatches,
    submitMicroseconds: null,
  }
}
