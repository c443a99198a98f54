// Convolution kernels by their keys on the shapes that matter, best of interleaved rounds in GFLOP/s; the first line of
// figures is the milliseconds of compilation and first run (cold only with MESA_SHADER_CACHE_DISABLE=true).
// ../run.sh lab/conv-sweep.ts [rounds] [[shares,px,co],…] [[cin,cout,size,kernel,batch],…] [tiles]
import { adapter, empty, random, run, step, subgroup, uniform, upload } from './gpu.ts'
import { convWords } from '../../src/shaders/conv2d-shape.ts'
import type { ConvShape } from '../../src/shaders/conv2d-shape.ts'
import { conv2dRegister, conv2dRegisterGrid } from '../../src/shaders/conv2d-register.ts'
import { conv2dHalo, conv2dHaloGrid } from '../../src/shaders/conv2d-halo.ts'
import { conv2dTile, conv2dTileGrid } from '../../src/shaders/conv2d-tile.ts'
console.log(adapter.info.description)
const rounds = Number(process.argv[2] ?? 7)
const list: [number, number, number][] = JSON.parse(
  process.argv[3] ?? '[[1,4,8],[1,8,8],[1,4,16],[1,8,16],[1,4,32],[0,4,8],[0,8,4]]',
)
const shapes: [number, number, number, number, number?][] = JSON.parse(
  process.argv[4] ??
    '[[64,64,32,3], [32,32,32,3], [64,64,16,3], [64,64,8,3], [96,64,16,3], [128,64,8,3], [3,32,32,3], ' +
      '[32,6,32,3], [96,64,16,1], [64,192,8,1], [192,192,64,3,1], [384,384,32,3,1], [768,768,8,3,1]]',
)
console.log(
  [
    'shape'.padEnd(22),
    ...list.map((k) => k.join(',').padStart(8)),
    process.argv[5] ? 'tile 8x4x4, 16x4x4; of 3x3 halo 8x8x64, 16x8x64, 16x16x64' : '',
  ].join(' '),
)
let first = true
for (const [cin, cout, size, k, n = 8] of shapes) {
  const s: ConvShape = { n, cin, h: size, w: size, cout, kh: k, kw: k, stride: 1, pad: k >> 1, ho: size, wo: size }
  const X = upload(random(n * cin * size * size)),
    W = upload(random(cout * cin * k * k, 2)),
    U = uniform(convWords(s)),
    Y = empty(n * cout * size * size)
  const flops = 2 * n * cout * size * size * cin * k * k
  const rows = []
  for (const [sub, px, co] of list) {
    const keys = { subgroup: sub && subgroup, px, co, kw: k as 1 | 3, bias: false, residual: false }
    const start = performance.now()
    rows.push({
      st: await step(conv2dRegister(keys), [U, X, W, Y], conv2dRegisterGrid(s, keys)),
      t: Infinity,
      compile: performance.now() - start,
    })
  }
  if (process.argv[5])
    for (const side of [8, 16]) {
      const keys = { side, px: 4, co: 4, kh: k, kw: k, bias: false, residual: false, split: false }
      const start = performance.now()
      rows.push({
        st: await step(conv2dTile(keys), [U, X, W, Y], conv2dTileGrid(s, keys)),
        t: Infinity,
        compile: performance.now() - start,
      })
    }
  if (process.argv[5] && k === 3)
    for (const [tx, ty] of [
      [8, 8],
      [16, 8],
      [16, 16],
    ]) {
      const vector = size % 4 === 0
      const keys = { images: 1, tx, ty, co: 64, vector, bias: false, residual: false, split: false }
      const start = performance.now()
      rows.push({
        st: await step(conv2dHalo(keys), [U, X, W, Y], conv2dHaloGrid(s, keys)),
        t: Infinity,
        compile: performance.now() - start,
      })
    }
  const repeat = Math.max(1, Math.round(1e8 / flops))
  const cold: number[] = []
  for (const r of rows) cold.push(r.compile + (await run([r.st])))
  if (first) console.log(['cold ms'.padEnd(22), ...cold.map((t) => t.toFixed(0).padStart(8))].join(' '))
  first = false
  for (let i = 0; i < rounds; i++) for (const r of rows) r.t = Math.min(r.t, (await run([r.st], repeat)) / repeat)
  console.log(
    [
      `${cin}>${cout} ${size} k${k} n${n}`.padEnd(22),
      ...rows.map((r) => (flops / r.t / 1e6).toFixed(1).padStart(8)),
    ].join(' '),
  )
}
process.exit(0)
