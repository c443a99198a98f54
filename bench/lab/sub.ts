// Sweep of the subgroup kernel's keys.
import { adapter, caps, empty, median, random, read, run, step, uniform, upload } from './gpu.ts'
import type { Step } from './gpu.ts'
import { convUniform } from '../../src/shaders/conv2d-shape.ts'
import type { ConvShape } from '../../src/shaders/conv2d-shape.ts'
import { conv2dRegister, conv2dRegisterGrid } from '../../src/shaders/conv2d-register.ts'
import { reference } from './reference.ts'
console.log(adapter.info.description)
const [C, S] = (process.argv[2] ?? '64,32').split(',').map(Number) as [number, number]
const rounds = Number(process.argv[3] ?? 7)
const s: ConvShape = { n: 8, cin: C, h: S, w: S, cout: C, kh: 3, kw: 3, stride: 1, pad: 1, ho: S, wo: S }
const x = random(s.n * s.cin * S * S), w = random(s.cout * s.cin * 9, 2)
const ref = reference(s, x, w, 97)
const X = upload(x), W = upload(w), U = uniform(convUniform(s))
const flops = 2 * s.n * s.cout * S * S * s.cin * 9
const rows: { name: string, step: Step, t: number[] }[] = []
const list: [number, number, number, 0 | 3][] = JSON.parse(process.argv[4] ?? '[[1,4,32,3],[1,8,16,3],[1,8,8,3],[0,4,8,3],[0,4,16,3],[0,8,8,3],[0,8,4,3]]')
for (const [sub, px, co, kw] of list) {
  const keys = { subgroup: sub && caps.subgroup, px, co, kw, bias: false, residual: false }
  const Y = empty(s.n * s.cout * S * S)
  const t0 = performance.now()
  const st = await step(conv2dRegister(keys), [U, X, W, Y], conv2dRegisterGrid(s, keys))
  await run([st])
  const cold = performance.now() - t0
  const y = await read(Y)
  console.log(`sub${sub} kw${kw} px${px} co${co}: cold ${cold.toFixed(0)} ms, err ${ref.error(y).toExponential(1)}`)
  rows.push({ name: `sub${sub} kw${kw} px${px} co${co}`, step: st, t: [] })
}
for (let r = 0; r < rounds; r++) for (const row of rows) row.t.push(await run([row.step]))
for (const row of rows) console.log(row.name, 'median', (flops / median(row.t) / 1e6).toFixed(1), 'best', (flops / Math.min(...row.t) / 1e6).toFixed(1))
process.exit(0)
