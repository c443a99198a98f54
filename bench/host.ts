/**
 * What an op costs the host besides its kernel: processor time of this process for one small op, gradients included, on
 * the CPU backend with one thread (64 elements are next to nothing to compute). `npm run host` in this directory.
 *
 * Every figure is a median of rounds of 1500 ops; time that others take on a busy machine is not counted, being no
 * time of this process.
 */
import { boundTerm } from '../src/diffusion/process/variational-bound.ts'
import { add, Device, grad, mul, relu, silu, sum } from '../src/tensor.ts'

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
const rows: [name: string, run: () => unknown][] = [
  ['add', () => add(a, b)],
  ['relu', () => relu(a)],
  ['silu', () => silu(a)],
  ['gradient of sum(silu(x) y)', () => grad(() => sum(mul(silu(a), b)), [a])],
  ['a term of the variational bound', bound],
  ['gradient of its sum by two inputs', () => grad(() => sum(bound()), [b, c])],
]
const [rounds, count] = [17, 1500]
const times = rows.map((): number[] => [])
for (let round = -3; round < rounds; round++) {
  for (const [k, [, run]] of rows.entries()) {
    const start = process.cpuUsage()
    for (let i = 0; i < count; i++) device.scope(() => void run())
    const { user, system } = process.cpuUsage(start)
    // Rounds before 0 compile.
    if (round >= 0) times[k].push((user + system) / count)
    await device.flush()
  }
}
for (const [k, [name]] of rows.entries())
  console.log(
    `${name.padEnd(40)}${times[k]
      .sort((x, y) => x - y)
      [rounds >> 1].toFixed(1)
      .padStart(8)} µs`,
  )
device.dispose()
