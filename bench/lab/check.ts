// Every variant against float64 over odd shapes.
import { adapter, caps, empty, random, read, run, step, uniform, upload } from './gpu.ts'
import { convUniform, dataGradientShape } from '../../src/shaders/conv2d-shape.ts'
import type { ConvShape } from '../../src/shaders/conv2d-shape.ts'
import { conv2dRegister, conv2dRegisterGrid, conv2dRegisterSupports } from '../../src/shaders/conv2d-register.ts'
import { conv2dTile, conv2dTileGrid, conv2dTileSupports } from '../../src/shaders/conv2d-tile.ts'
import { conv2dDataGradient, conv2dDataGradientGrid } from '../../src/shaders/conv2d-data-gradient.ts'
import { conv2dSumSplits, conv2dSumSplitsGrid } from '../../src/shaders/conv2d-sum-splits.ts'
import { conv2dWeightGradient, conv2dWeightGradientGrid, conv2dWeightGradientSplits, conv2dWeightGradientUniform } from '../../src/shaders/conv2d-weight-gradient.ts'
import { reference } from './reference.ts'
console.log(adapter.info.description)
const shapes: ConvShape[] = []
const add = (n: number, cin: number, h: number, w: number, cout: number, k: number, stride: number, pad: number, kw = k, padX?: number) => {
  const ho = Math.floor((h + 2 * pad - k) / stride) + 1, wo = Math.floor((w + 2 * (padX ?? pad) - kw) / stride) + 1
  shapes.push({ n, cin, h, w, cout, kh: k, kw, stride, pad, padX, ho, wo })
}
add(2, 3, 9, 7, 6, 3, 1, 1); add(1, 33, 5, 13, 7, 3, 1, 1); add(2, 5, 11, 9, 64, 3, 1, 0); add(1, 4, 6, 6, 4, 3, 1, 2)
add(3, 33, 7, 5, 33, 1, 1, 0); add(1, 5, 7, 9, 6, 1, 2, 0); add(1, 3, 5, 5, 7, 1, 1, 1); add(2, 6, 13, 11, 5, 3, 2, 1)
add(1, 5, 9, 12, 6, 5, 1, 2); add(1, 3, 35, 39, 64, 11, 4, 2); add(2, 7, 17, 16, 3, 5, 3, 4); add(1, 3, 12, 10, 5, 11, 1, 5)
add(1, 64, 16, 16, 32, 3, 1, 1); add(1, 3, 8, 9, 4, 2, 2, 0); add(1, 4, 9, 8, 5, 3, 4, 5); add(2, 3, 7, 9, 5, 3, 1, 1, 5, 0); add(1, 3, 6, 9, 5, 1, 1, 0, 3, 1)
add(1, 2, 9, 9, 3, 4, 3, 1, 7, 3)
const subs = caps.subgroup ? [0, caps.subgroup] : [0]
let worst = 0, count = 0
const note = (name: string, s: ConvShape, e: number) => { count++; if (!(e <= 1e-6)) console.log('BAD', name, JSON.stringify(s), e); if (!(e <= worst)) worst = e }
async function forward(label: string, s: ConvShape, x: Float32Array, w: Float32Array) {
  const bias = random(s.cout, 5), res = random(s.n * s.cout * s.ho * s.wo, 6)
  const ref = reference(s, x, w, 1)
  const [X, W, U, B, R] = [upload(x), upload(w), uniform(convUniform(s)), upload(bias), upload(res)]
  const go = async (name: string, code: string, grid: [number, number, number], b: boolean, r: boolean) => {
    const Y = upload(new Float32Array(s.n * s.cout * s.ho * s.wo).fill(NaN))
    await run([await step(code, [U, X, W, ...(b ? [B] : []), ...(r ? [R] : []), Y], grid)])
    note(`${label} ${name}`, s, ref.error(await read(Y), i => (b ? bias[Math.floor(i / s.ho / s.wo) % s.cout]! : 0) + (r ? res[i]! : 0)))
  }
  for (const subgroup of subs) for (const kw of [0, 1, 3] as const) for (const [px, co, b, r] of [[4, 8, true, true], [8, 16, true, false], [4, 32, false, false]] as const) {
    if (!subgroup && px * co > 64) continue
    const keys = { subgroup, px, co, kw, bias: b, residual: r }
    if (conv2dRegisterSupports(s, caps, keys)) await go(`register ${JSON.stringify(keys)}`, conv2dRegister(keys), conv2dRegisterGrid(s, keys), b, r)
  }
  for (const [kh, kw] of [[0, 0], [3, 3], [1, 1]] as const) for (const [side, px, co, b, r] of [[16, 4, 4, true, true], [8, 8, 8, true, false], [16, 8, 4, false, false], [8, 4, 4, false, true]] as const) {
    const keys = { side, px, co, kh, kw, bias: b, residual: r }
    if (conv2dTileSupports(s, keys)) await go(`tile ${JSON.stringify(keys)}`, conv2dTile(keys), conv2dTileGrid(s, keys), b, r)
  }
}
for (const s of shapes) {
  const x = random(s.n * s.cin * s.h * s.w, 1), w = random(s.cout * s.cin * s.kh * s.kw, 2), dy = random(s.n * s.cout * s.ho * s.wo, 3)
  await forward('forward', s, x, w)
  if (s.stride === 1) await forward('data gradient', dataGradientShape(s), dy, w)
  // <dy, conv(x)> against every coordinate: brute-force gradients in float64.
  const dx = new Float64Array(x.length), adx = new Float64Array(x.length), dw = new Float64Array(w.length), adw = new Float64Array(w.length)
  for (let n = 0; n < s.n; n++) for (let co = 0; co < s.cout; co++) for (let oy = 0; oy < s.ho; oy++) for (let ox = 0; ox < s.wo; ox++) {
    const g = dy[((n * s.cout + co) * s.ho + oy) * s.wo + ox]!
    for (let ci = 0; ci < s.cin; ci++) for (let ky = 0; ky < s.kh; ky++) for (let kx = 0; kx < s.kw; kx++) {
      const iy = oy * s.stride - s.pad + ky, ix = ox * s.stride - (s.padX ?? s.pad) + kx
      if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue
      const a = ((n * s.cin + ci) * s.h + iy) * s.w + ix, b = ((co * s.cin + ci) * s.kh + ky) * s.kw + kx
      dx[a]! += g * w[b]!; adx[a]! += Math.abs(g * w[b]!); dw[b]! += g * x[a]!; adw[b]! += Math.abs(g * x[a]!)
    }
  }
  const compare = (y: Float32Array, want: Float64Array, scale: Float64Array) => { let e = 0; for (let i = 0; i < want.length; i++) { const d = Math.abs(y[i]! - want[i]!) / (scale[i]! + 1e-30); if (!(d <= e)) e = d } return e }
  for (const subgroup of subs) for (const [px, ci] of [[4, 8], [8, 16]] as const) {
    const keys = { subgroup, px, ci }
    const DX = upload(new Float32Array(x.length).fill(NaN))
    await run([await step(conv2dDataGradient(keys), [uniform(convUniform(s)), upload(dy), upload(w), DX], conv2dDataGradientGrid(s, keys))])
    note(`gather ${JSON.stringify(keys)}`, s, compare(await read(DX), dx, adx))
  }
  for (const [side, each] of [[16, 4], [8, 8], [8, 4]] as const) for (const many of [1, 1000]) {
    const keys = { side, each }
    let splits = conv2dWeightGradientSplits(s, keys, many)
    if (many > 1) splits = Math.max(splits, 3)
    const P = upload(new Float32Array(splits * w.length).fill(NaN)), D = upload(new Float32Array(w.length).fill(NaN))
    await run([await step(conv2dWeightGradient(keys), [uniform(conv2dWeightGradientUniform(s, splits)), upload(x), upload(dy), P], conv2dWeightGradientGrid(s, keys, splits)),
      await step(conv2dSumSplits(), [uniform(Int32Array.of(w.length, splits, 0, 0)), P, D], conv2dSumSplitsGrid(w.length))])
    note(`weights ${JSON.stringify(keys)} ${splits}`, s, compare(await read(D), dw, adw))
  }
}
console.log(count, 'runs, worst error / Σ|a||b|', worst)
process.exit(0)
