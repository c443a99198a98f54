/** bench/gpu/measure.ts, for where a GPU is at hand for minutes, rehearsed on what is here: every stage, small. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as esbuild from 'esbuild'
import { afterAll, expect, test } from 'vitest'
import { checkReport } from '../src/bench/index.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
// Beside node_modules/webgpu, which the bundle leaves outside.
const folder = mkdtempSync(join(root, 'node_modules', '.measure-'))
const out = mkdtempSync(join(tmpdir(), 'measured-'))
afterAll(() => [folder, out].forEach((path) => rmSync(path, { recursive: true, force: true })))

test('each stage is a process, and what it finds is written; PyTorch may be missing', async () => {
  const program = join(folder, 'measure.mjs')
  await esbuild.build({
    entryPoints: [join(root, 'bench/gpu/measure.ts')],
    outfile: program,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    mainFields: ['module', 'main'],
    external: ['webgpu'],
    alias: { '#platform': join(root, 'src/platform/index.node.ts') },
    tsconfigRaw: '{}',
    logLevel: 'error',
  })
  // The budget of a stage is a fifth of that on a GPU, and a busy machine needs more.
  const words = ['--tiny', '--out', out, '--seconds', '600', '--torch', 'no-such-python', '--only']
  const only = 'smoke,peaks,networks,torch,profile,kernels'
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...words, only], {
    cwd: root,
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  const { found } = JSON.parse(readFileSync(join(out, 'measure.json'), 'utf8')) as {
    found: { stage: string; trouble: string | null; rows: Record<string, unknown>[] }[]
  }
  expect(
    found.map(({ stage, trouble }) => [stage, trouble]),
    stdout,
  ).toEqual(only.split(',').map((s) => [s, null]))
  const kinds = new Set(found.flatMap(({ rows }) => rows.map(({ kind }) => kind)))
  expect([...kinds].sort()).toEqual([
    'adapter',
    'info',
    'kernel',
    'network',
    'peaks',
    'profile',
    'ran',
    'report',
    'torch',
  ])
  const report = checkReport(JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')), 'report.json')
  expect(report.rows.filter((row) => row.kind === 'failed' || !row.right)).toEqual([])
  const passes = report.rows.filter((row) => row.kind === 'network')
  expect(passes.map(({ recorded }) => recorded)).toEqual([false, true])
  const text = readFileSync(join(out, 'measure.md'), 'utf8')
  expect(text).toMatch(/## torch\n\n.*no-such-python/s)
  expect(text).toMatch(/tiny: true/)
})
