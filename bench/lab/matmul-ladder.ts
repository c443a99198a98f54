// The kernels of docs/kernels.md as they stand there, GFLOP/s at a few sizes: best and median of interleaved rounds.
// ../run.sh lab/matmul-ladder.ts [rounds]
import { readFileSync } from 'node:fs'
import { adapter, empty, random, run, step, uniform, upload } from './gpu.ts'

console.log(adapter.info.description)
const rounds = Number(process.argv[2] ?? 7)
const page = readFileSync('docs/kernels.md', 'utf8')
const rungs = [...page.matchAll(/^```wgsl\n([\s\S]*?)^```$/gm)].map(([, code]) => ({
  code,
  tile: Number(/ceil\(n \/ (\d+)\)/.exec(code)?.[1]),
}))
for (const n of [128, 256, 512, 1024]) {
  const [A, B, C] = [upload(random(n * n)), upload(random(n * n, 2)), empty(n * n)]
  const sizes = uniform([n, n, n])
  const steps = []
  for (const { code, tile } of rungs) steps.push(await step(code, [sizes, A, B, C], [n / tile, n / tile, 1]))
  const times: number[][] = steps.map(() => [])
  for (const one of steps) await run([one])
  const repeat = Math.max(1, Math.round(2e8 / (2 * n ** 3)))
  for (let round = 0; round < rounds; round++)
    for (const [i, one] of steps.entries()) times[i].push((await run([one], repeat)) / repeat)
  const rate = (ms: number) => ((2 * n ** 3) / ms / 1e6).toFixed(1)
  const shown = times.map((of) => {
    const sorted = of.toSorted((a, b) => a - b)
    return `${rate(sorted[0])} (${rate(sorted[rounds >> 1])})`.padStart(16)
  })
  console.log(`${n} x ${n}`.padEnd(14), ...shown)
}
process.exit(0)
