import { caps, compile, empty, random, run, step, uniform, upload } from './gpu.ts'
import { conv2dWeightGradient, conv2dWeightGradientGrid, conv2dWeightGradientSplits, conv2dWeightGradientUniform } from '../../src/shaders/conv2d-weight-gradient.ts'
const s = { n: 2, cin: 8, h: 8, w: 8, cout: 8, kh: 3, kw: 3, stride: 1, pad: 1, ho: 8, wo: 8 }
const X = upload(random(4096))
for (const each of [1, 2, 4]) {
  const keys = { side: 8, each }, splits = 1
  const t0 = performance.now()
  await compile(conv2dWeightGradient(keys))
  console.log(each, 'compiled', performance.now() - t0, process.memoryUsage.rss() / 1e6)
  const st = await step(conv2dWeightGradient(keys), [uniform(conv2dWeightGradientUniform(s, splits)), X, X, empty(8192)], conv2dWeightGradientGrid(s, keys, splits))
  console.log('ran', await run([st]), process.memoryUsage.rss() / 1e6)
}
process.exit(0)
