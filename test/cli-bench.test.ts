/** `tweedie bench`: its table and files, two files compared, a kernel of the user's taken or refused. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { checkReport, gridOf, newReport } from '../src/bench/index.ts'
import { Device } from '../src/tensor.ts'
import { temporaryFolder, tweedie } from './cli.ts'

const at = temporaryFolder()
const quick = ['--network', 'none', '--samples', '3', '--budget', '1']
const [own] = [
  ...readFileSync(new URL('../bench/README.md', import.meta.url), 'utf8').matchAll(/```wgsl\n(.*?)```/gs),
].map(([, code]) => code)

test('on the CPU: peaks, rows, JSON, a roofline; the same command replaces its own files and no others', async () => {
  const [json, svg] = [at('a.json'), at('a.svg')]
  const words = ['bench', '--backend', 'cpu', '--threads', '1', '--shape', '1,5,7,9,6,3', ...quick]
  const { code, out, err } = await tweedie([...words, '--json', json, '--svg', svg])
  expect(code, err.join('\n')).toBe(0)
  expect(out.join('\n')).toMatch(/CPU.*multiply-adds .*conv2d 3x3, 1 x 5>7, 9x6 .*fastest/s)
  const report = checkReport(JSON.parse(readFileSync(json, 'utf8')), json)
  expect(report.rows.map((row) => row.kind === 'kernel' && [row.op, row.right])).toEqual([
    ['conv2d 3x3', true],
    ['data gradient 3x3', true],
    ['weight gradient 3x3', true],
  ])
  expect(readFileSync(svg, 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s)
  const again = await tweedie([...words, '--json', json, '--svg', svg, '--verify'])
  expect(again.code).toBe(0)
  expect(again.out.join('\n')).toMatch(/\d\d kernels and variants compute what the CPU does/)
  const other = at('notes.json')
  writeFileSync(other, '{"mine": true}')
  expect(await tweedie([...words, '--json', other])).toMatchObject({ code: 1 })

  const compared = await tweedie(['bench', '--compare', json, json])
  expect(compared.out.join('\n')).toMatch(/conv2d 3x3, 1 x 5>7, 9x6 .* 1\.00 ~/)
  expect(await tweedie(['bench', '--compare', json])).toMatchObject({ code: 1 })
  expect((await tweedie(['bench', '--compare', other, json])).err.join('\n')).toMatch(/no report is there/)
})

test('a kernel of the user has a row beside ours; one that is wrong is refused with its first element', async () => {
  const [right, wrong, broken] = ['right', 'wrong', 'broken'].map((name) => at(`${name}.wgsl`))
  writeFileSync(right, own)
  // It forgets the last channel where there are more than 64.
  writeFileSync(wrong, own.replace('co >= p.cout', 'co >= min(p.cout, 64)'))
  writeFileSync(broken, own.replace('let area', 'let 9area'))
  const words = ['bench', '--backend', 'webgpu', '--shape', '1,5,7,9,6,3', ...quick, '--grid', 'ceil(px/64),cout']
  const { code, out, err } = await tweedie([...words, '--wgsl', right])
  expect(code, err.join('\n')).toBe(0)
  expect(out.join('\n')).toMatch(/conv2d 3x3, 1 x 5>7, 9x6: right\.wgsl +\d/)
  const refused = await tweedie([...words, '--wgsl', wrong])
  expect(refused.code).toBe(1)
  expect(refused.err.join('\n')).toMatch(
    /wrong\.wgsl: for .*cout 70.*element \[0, 64, 0, 0\] of \[1, 70, 17, 6\] is not written, or NaN, expected/,
  )
  const failed = await tweedie([...words, '--wgsl', broken])
  expect(failed.err.join('\n')).toMatch(/broken\.wgsl.*Line 12: .*9area/s)
  expect((await tweedie(['bench', '--backend', 'cpu', '--wgsl', right])).err.join('\n')).toMatch(/cpu cannot take it/)
  expect((await tweedie(['bench', '--grid', '1'])).err.join('\n')).toMatch(/is for a kernel of --wgsl/)
  expect((await tweedie(['bench', '--shapes', 'toys'])).err.join('\n')).toMatch(/found "toys"/)
})

/** Softmax along rows, a thread each; the second size is the row's length. */
const softmaxKernel = `
@group(0) @binding(0) var<uniform> p: vec2i;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (i32(id.x) >= p.x) { return; }
  let first = i32(id.x) * p.y;
  var top = x[first];
  for (var i = 1; i < p.y; i++) { top = max(top, x[first + i]); }
  var sum = 0f;
  for (var i = 0; i < p.y; i++) { sum += exp(x[first + i] - top); }
  for (var i = 0; i < p.y; i++) { y[first + i] = exp(x[first + i] - top) / sum; }
}`

test('a kernel in the place of another op, at sizes of its own; winners of an earlier report are taken', async () => {
  const [mine, json] = [at('softmax.wgsl'), at('softmax.json')]
  writeFileSync(mine, softmaxKernel)
  using device = await Device.request({ backend: 'webgpu' })
  const winners = (adapter: string): string => {
    const path = at(`${adapter.slice(0, 3)}.json`)
    writeFileSync(path, JSON.stringify({ ...newReport(device, 'here'), adapter, winners: { key: 'variant' } }))
    return path
  }
  const words = ['bench', '--backend', 'webgpu', ...quick, '--as', 'softmax', '--shape', '9,33', '--wgsl', mine]
  const grid = ['--grid', 'ceil(rows/64)']
  const { code, out, err } = await tweedie([
    ...words,
    ...grid,
    '--winners',
    winners(device.adapter.name),
    '--json',
    json,
  ])
  expect(code, err.join('\n')).toBe(0)
  expect(out.join('\n')).toMatch(/softmax\.wgsl as softmax: 64 threads in a workgroup, 0 bytes .*, 2 storage buffers/)
  expect(out.join('\n')).toMatch(/softmax, 9 rows of 33, recorded .*softmax, 9 rows of 33: softmax\.wgsl +\d/s)
  const refused = async (...rest: string[]): Promise<string> => (await tweedie(rest)).err.join('\n')
  expect(await refused(...words, ...grid, '--winners', winners('another'))).toMatch(/those are of another, and this is/)
  expect(await refused(...words)).toMatch(/softmax needs --grid, of rows, columns/)
  expect(await refused('bench', '--as', 'attention', '--shapes', 'toy')).toMatch(/no shape of toy has that/)
})

test('grids are arithmetic of the shape and nothing else', () => {
  const shape = { n: 2, cin: 3, cout: 70, h: 5, w: 7 }
  expect(gridOf('ceil(px/64),ceil(cout/64),1', 'conv2d-3x3')(shape)).toEqual([2, 2, 1])
  expect(gridOf('n*(h+w)-2*cin/3 , max(1, floor(cout/64))', 'conv2d-3x3')(shape)).toEqual([22, 1])
  for (const wrong of ['', 'px/', '1,2,3,4', 'process', 'ceil(px', 'px px', '1;2', 'constructor(1)'])
    expect(() => gridOf(wrong, 'conv2d-3x3'), wrong).toThrow(/A grid is/)
})
