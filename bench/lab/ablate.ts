import { adapter, caps, empty, median, random, run, step, uniform, upload } from './gpu.ts'
import { convUniform } from '../../src/shaders/conv2d-shape.ts'
import { conv2dRegister, conv2dRegisterGrid } from '../../src/shaders/conv2d-register.ts'
const s = { n: 8, cin: 64, h: 32, w: 32, cout: 64, kh: 3, kw: 3, stride: 1, pad: 1, ho: 32, wo: 32 }
const [px, co] = JSON.parse(process.argv[2] ?? '[8,16]')
const keys = { subgroup: caps.subgroup, px, co, kw: 3 as const, bias: false, residual: false }
const X = upload(random(8 * 64 * 1024)), W = upload(random(64 * 576, 2)), U = uniform(convUniform(s))
const base = conv2dRegister(keys)
const noLoads = base.replace(/x\[row \+ i(\d+)\]/g, 'f32(row + i$1)').replace(/= weight\[at \+ wLane(\d+)\]/g, '= f32(at + wLane$1)')
const unroll = (t: string) => { // the ky loop written out
  const i = t.indexOf('for (var ky'), j = t.indexOf('\n    }\n  }\n  if (strip')
  const body = t.slice(t.indexOf('{', i), j) + '}'
  return t.slice(0, i) + [0, 1, 2].map(ky => body.replace('{', `{ let ky = ${ky};`)).join('\n') + t.slice(j + 6)
}
const flat = (t: string) => t.replace(/for \(var ci = 0[^{]*\{/, 'var ci = 0; var ky = 0; for (var k = 0; k < p.cin * p.kh; k++) {').replace(/for \(var ky = 0[^{]*\{/, '{')
  .replace('\n    }\n  }\n  if (strip', '\n ky++; if (ky == p.kh) { ky = 0; ci++; } }\n  }\n  if (strip')
const variants: Record<string, string> = {
  base, noLoads, unroll: unroll(base), unrollNoLoads: unroll(noLoads), flat: flat(base), flatNoLoads: flat(noLoads),
  fma: base.replace(/(a\d+_\d+) \+= b \* (v\d);/g, '$1 = fma(vec4f(b), $2, $1);'),
  noBroadcast: noLoads.replace(/subgroupBroadcast\((w\d+), \d+u\)/g, '$1'),
}
const rows = []
for (const [name, code] of Object.entries(variants)) {
  const Y = empty(8 * 64 * 1024)
  rows.push({ name, st: await step(code.includes('weight[') ? code : code + '\nfn keep() -> f32 { return weight[0] + x[0]; }', [U, X, W, Y], conv2dRegisterGrid(s, keys)).catch(e => (console.log(name, e.message), null)), t: [] as number[] })
}
const ok = rows.filter(r => r.st)
for (let i = 0; i < 10; i++) for (const r of ok) { const t = await run([r.st!]); if (i) r.t.push(t) }
for (const r of ok) console.log(r.name.padEnd(14), median(r.t).toFixed(1), 'ms', Math.min(...r.t).toFixed(1), (8 * 64 * 1024 * 576 * 2 / median(r.t) / 1e6).toFixed(1), 'GF')
process.exit(0)
