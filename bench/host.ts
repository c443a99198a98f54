/**
 * What the host takes for its own part: processor time of this process for one small op, gradients included, on the CPU
 * backend with one thread (64 elements are next to nothing to compute), and for reading and writing small files.
 * `npm run host` in this directory.
 *
 * tinybench counts, on a clock of this process alone: time that others take on a busy machine is no time of ours. A
 * sample is `count` calls, for the clock has steps of a microsecond.
 */
import { Bench } from 'tinybench'
import { encodePng } from '../src/data/index.ts'
import { boundTerm } from '../src/diffusion/process/variational-bound.ts'
import { bytesSource, openSafetensors } from '../src/io/index.ts'
import { describeModel, planOf, stateDictOf } from '../src/nn/index.ts'
import { add, Device, grad, mul, relu, silu, sum } from '../src/tensor.ts'
import { smallUNet } from './network.ts'

const device = await Device.request({ backend: 'cpu', threads: 1 })
const [a, b, c] = [1, 2, 3].map((k) =>
  device.tensor(
    Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * k) * 0.9),
    [2, 1, 4, 8],
  ),
)
const last = device.tensor([1, 0], [2, 1, 1, 1])
const posteriorLogVariance = device.tensor([-5, -3], [2, 1, 1, 1])
const bound = () => boundTerm({ last, xStart: a, difference: b, posteriorLogVariance, logVariance: c })
const file = smallUNet()
const pixels = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (i * 37) % 256)
const picture = { width: 32, height: 32, channels: 3, data: pixels } as const
const { config } = describeModel(await openSafetensors(bytesSource(file)))

const count = 500
const bench = new Bench({
  now: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e3
  },
  time: 300,
  warmupTime: 300,
})
const ops: [name: string, run: () => unknown][] = [
  ['add', () => add(a, b)],
  ['relu', () => relu(a)],
  ['silu', () => silu(a)],
  ['gradient of sum(silu(x) y)', () => grad(() => sum(mul(silu(a), b)), [a])],
  ['a term of the variational bound', bound],
  ['gradient of its sum by two inputs', () => grad(() => sum(bound()), [b, c])],
]
for (const [name, run] of ops) {
  const many = (): void => {
    for (let i = 0; i < count; i++) device.scope(() => void run())
  }
  bench.add(name, many, { afterEach: () => device.flush() })
}
const files: [name: string, run: () => unknown][] = [
  ["the small U-Net's safetensors, opened", () => openSafetensors(bytesSource(file))],
  ['its plan and state dict', () => stateDictOf(planOf(config))],
  ['a PNG of 32 x 32, written', () => encodePng(picture)],
]
for (const [name, run] of files) {
  bench.add(name, async () => {
    for (let i = 0; i < count / 10; i++) await run()
  })
}
await bench.run()
for (const { name, result } of bench.tasks) {
  if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`)
  const calls = ops.some(([op]) => op === name) ? count : count / 10
  console.log(`${name.padEnd(40)}${((result.latency.p50 * 1e3) / calls).toFixed(1).padStart(8)} µs`)
}
device.dispose()
