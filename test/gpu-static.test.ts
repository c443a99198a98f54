/**
 * What a GPU's compiler makes of the networks' kernels (bench/gpu/radv.ts): registers, spills, workgroup memory and the
 * share of multiply-adds, held against bench/gpu/static.json; and that no kernel asks for more than WebGPU's defaults.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { sharesOf } from '../bench/gpu/assembly.ts'
import { networkKernels } from '../bench/gpu/passes.ts'
import { compile, missing } from '../bench/gpu/radv.ts'
import { differences, faults, sharesLost, tableOf, textFaults, type StaticTable } from '../bench/gpu/static-table.ts'
import { readKernel } from '../bench/gpu/wgsl.ts'

const reason = missing()
if (reason && process.env.CI === 'true') throw new Error(`CI compiles the kernels with RADV: ${reason}`)

const networks = networkKernels()

test("every kernel of the networks keeps to WebGPU's default limits", async () => {
  const kernels = await networks
  expect(kernels.size).toBeGreaterThan(80)
  expect(textFaults(kernels)).toEqual([])
})

describe.skipIf(reason)(`compiled for RDNA 3${reason ? `, which cannot be done here: ${reason}` : ''}`, () => {
  test('no spills, at most 128 registers and 16 KiB, and as many instructions as static.json says', async () => {
    const { driver, compiled } = compile(await networks, 'navi31')
    expect([...faults(compiled), ...sharesLost(compiled)]).toEqual([])
    const url = new URL('../bench/gpu/static.json', import.meta.url)
    const file = JSON.parse(readFileSync(url, 'utf8')) as StaticTable
    // Another version of the compiler writes other code; what holds for every one was held above.
    if (driver !== file.driver) return
    const meant = 'If this change is meant: bench/run.sh gpu/static.ts --write, and the reason in the commit.'
    expect(differences(tableOf(driver, compiled), file), meant).toEqual([])
  })
})

describe('what is read from text', () => {
  const code = `
    @group(0) @binding(0) var<uniform> p: P;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    var<workgroup> a: array<vec4<f32>, 12>; // var<workgroup> b: array<f32, 99>;
    var<workgroup> c: array<vec3i, 4>;
    @compute @workgroup_size(8, 8) fn main() {
      for (var k = 0u; k < p.k; k += 16u) {
        for (var r = t / 8u; r < 16u; r += 4u) { a[r] = 1; }
        for (var r = 3; r < 16; r++) { s += a[r] * a[r + 1]; }
        loop { break; }
      }
    }`

  test('a kernel: bindings, workgroup memory with its padding, threads, rounds of loops', () => {
    const { loops, ...rest } = readKernel(code)
    expect(rest).toEqual({ storageBuffers: 2, uniformBuffers: 1, workgroupBytes: 12 * 16 + 4 * 16, threads: 64 })
    const inner = [
      { trips: 4, constant: false, inner: [] },
      { trips: 13, constant: true, inner: [] },
      { trips: null, constant: false, inner: [] },
    ]
    expect(loops).toEqual([{ trips: null, constant: false, inner }])
  })

  // A loop that fetches (4 instructions), one that multiplies (1 of 2, and a wait), 2 more a round.
  const assembly = (multiplying: string): string =>
    ['BB0:', '\ts_mov_b32 s0, 0', 'BB1:', '\tv_mov_b32 v0, 0', 'BB2:', '\tds_store_b32 v0, v1', '\tv_mul_f32 v0, v1']
      .concat(['\tv_mul_f32 v0, v1', '\ts_cbranch_scc1 BB2', multiplying, '\ts_branch BB1', 'BB4:', '\ts_endpgm'])
      .join('\n')
  const loops = (code: string) => readKernel(`@workgroup_size(1) ${code}`).loops

  test('shares of a loop and of the round around it', () => {
    const listing = assembly('BB3:\n\tv_fmac_f32_e32 v0, v1\n\ts_waitcnt lgkmcnt(0)\n\ts_cbranch_scc1 BB3\nBB5:')
    const text = 'for (;;) { for (var i = t; i < 8; i += 4) {} for (var j = 0; j < 6; j++) {} }'
    // 2 + 2 · 4 + 6 · 2 instructions.
    expect(sharesOf(listing, loops(text))).toEqual({ inner: 0.5, round: Number((6 / 22).toFixed(3)) })
    expect(sharesOf(listing, loops('for (;;) { for (;;) {} for (;;) {} }'))).toEqual({ inner: 0.5, round: null })
  })

  test('a loop that the compiler wrote out', () => {
    const listing = assembly('BB3:\n\tv_fma_f32 v0, v1\n\tv_mad_u32_u24 v0, v1')
    const text = 'for (;;) { for (var i = t; i < 8; i += 4) {} for (var j = 0; j < 6; j++) {} }'
    // 4 + 2 · 4 instructions; an integer's multiply-add is none.
    expect(sharesOf(listing, loops(text)).round).toBe(Number((1 / 12).toFixed(3)))
  })

  test('tables that differ say where', () => {
    const row = { instructions: 100, vgprs: 60, lds: 0, waves: 16, inner: 0.5 }
    const table = (kernels: StaticTable['kernels']): StaticTable => ({ driver: '', kernels })
    expect(differences(table({ a: { ...row, instructions: 105, inner: 0.51 } }), table({ a: row }))).toEqual([])
    const other = { a: { ...row, instructions: 106, inner: 0.4 }, b: row }
    expect(differences(table(other), table({ a: row, c: row }))).toEqual([
      'a: instructions 100 before, 106 now',
      'a: inner 0.5 before, 0.4 now',
      'b: new',
      'c: gone',
    ])
  })
})
