// Cold compile and speed of each variant on one shape.
import { adapter, caps, empty, median, random, run, step, uniform, upload } from './gpu.ts'
import { convUniform } from '../../src/shaders/conv2d-shape.ts'
import { conv2dRegister, conv2dRegisterGrid } from '../../src/shaders/conv2d-register.ts'
import { conv2dTile, conv2dTileGrid } from '../../src/shaders/conv2d-tile.ts'
import { conv2dDataGradient, conv2dDataGradientGrid } from '../../src/shaders/conv2d-data-gradient.ts'
import { conv2dWeightGradient, conv2dWeightGradientGrid, conv2dWeightGradientSplits, conv2dWeightGradientUniform } from '../../src/shaders/conv2d-weight-gradient.ts'
console.log(adapter.info.description)
const s = { n: 2, cin: 32, h: 16, w: 16, cout: 32, kh: 3, kw: 3, stride: 1, pad: 1, ho: 16, wo: 16 }
const X = upload(random(s.n * 32 * 256)), W = upload(random(32 * 288, 2)), U = uniform(convUniform(s))
const flops = 2 * s.n * 32 * 256 * 288
const time = async (name: string, code: string, buffers: GPUBuffer[], grid: [number, number, number]) => {
  const t0 = performance.now(); const st = await step(code, buffers, grid); const t1 = performance.now(); await run([st])
  const t2 = performance.now(); const t = []; for (let i = 0; i < 5; i++) t.push(await run([st]))
  console.log(name.padEnd(60), `compile ${(t1 - t0).toFixed(0)} first run ${(t2 - t1).toFixed(0)} ms, then ${(flops / median(t) / 1e6).toFixed(2)} GF, rss ${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB`)
}
for (const [sub, px, co, kw] of [[1, 8, 16, 3], [1, 4, 8, 3], [0, 4, 8, 3], [0, 4, 8, 0], [0, 8, 4, 3]] as const) {
  const keys = { subgroup: sub && caps.subgroup, px, co, kw, bias: false, residual: false }
  await time(`register ${JSON.stringify(keys)}`, conv2dRegister(keys), [U, X, W, empty(s.n * 32 * 256)], conv2dRegisterGrid(s, keys))
}
for (const sub of [0, caps.subgroup]) { const keys = { subgroup: sub, px: 4, ci: 16 }
  await time(`gather ${JSON.stringify(keys)}`, conv2dDataGradient(keys), [U, X, W, empty(s.n * 32 * 256)], conv2dDataGradientGrid(s, keys)) }
for (const [side, px, co, kh] of [[8, 4, 4, 3], [16, 4, 4, 3], [16, 4, 4, 0], [8, 8, 8, 3], [16, 8, 4, 3]] as const) {
  const keys = { side, px, co, kh, kw: kh, bias: false, residual: false }
  await time(`tile ${JSON.stringify(keys)}`, conv2dTile(keys), [U, X, W, empty(s.n * 32 * 256)], conv2dTileGrid(s, keys))
}
for (const [side, each] of [[8, 4], [16, 4], [8, 8]] as const) {
  const keys = { side, each }, splits = conv2dWeightGradientSplits(s, keys)
  await time(`weights ${JSON.stringify(keys)} splits ${splits}`, conv2dWeightGradient(keys), [uniform(conv2dWeightGradientUniform(s, splits)), X, X, empty(splits * 32 * 288)], conv2dWeightGradientGrid(s, keys, splits))
}
process.exit(0)
