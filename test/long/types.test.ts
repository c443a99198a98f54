/**
 * The package's types and the programs of README and docs under npm's newest TypeScript, and as attw sees the tarball.
 */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { needsTypes, typed } from '../blocks.ts'
import { resolutions } from '../compile.ts'
import { emptyProject, importOfAll, packed } from '../packed.ts'
import { host } from './hosts.ts'

/** What a program of Node printed; its exit code is 0 where nothing is wrong. */
async function run(script: string, args: readonly string[], cwd: string): Promise<{ code: number; printed: string }> {
  return promisify(execFile)(process.execPath, [script, ...args], { cwd, maxBuffer: 2 ** 26 }).then(
    ({ stdout, stderr }) => ({ code: 0, printed: stdout + stderr }),
    ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
      code,
      printed: stdout + stderr,
    }),
  )
}

async function complaints(
  folder: string,
  files: Readonly<Record<string, string>>,
  compilerOptions: object,
): Promise<string[]> {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const json = { target: 'es2022', strict: true, skipLibCheck: false, noEmit: true, types: [], ...compilerOptions }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: json, files: Object.keys(files) }))
  const { code, printed } = await run(await host('typescript/bin/tsc'), ['-p', '.'], folder)
  const lines = printed.split('\n').filter((line) => line !== '')
  return code === 0 ? lines : [`exit code ${code}`, ...lines]
}

test.each(Object.entries(resolutions))("npm's newest TypeScript: %s", async (_, resolution) => {
  const folder = await emptyProject()
  const withNode = await emptyProject({ types: ['@types/node', 'undici-types', '@types/react', 'csstype'] })
  expect(
    await complaints(folder, { 'all.mts': importOfAll, ...typed((block) => !needsTypes(block)) }, resolution),
  ).toEqual([])
  expect(
    await complaints(withNode, { 'all.mts': importOfAll, ...typed() }, { ...resolution, types: ['node'] }),
  ).toEqual([])
  expect(await complaints(folder, { 'all.mts': importOfAll }, { ...resolution, lib: ['es2022'] })).toEqual([])
})

test("WebGPU's types are TypeScript's own by now: the user's GPUDevice goes in, and nothing else does", async () => {
  const folder = await emptyProject()
  const program = (value: string): Record<string, string> => ({
    'gpu.mts':
      "import { Device } from 'tweedie'\nexport const use = (mine: GPUDevice): Promise<Device> => " +
      `Device.request({ gpuDevice: ${value} })\n`,
  })
  expect(await complaints(folder, program('mine'), resolutions.bundler)).toEqual([])
  expect(await complaints(folder, program('{}'), resolutions.bundler)).toEqual(
    expect.arrayContaining([expect.stringMatching(/gpu\.mts.*'GPUDevice'/)]),
  )
})

test('it finds what is wrong', async () => {
  const folder = await emptyProject()
  expect(
    await complaints(
      folder,
      {
        'wrong.mts':
          "import { Device } from 'tweedie'\nexport const device: Device = await Device.request({ backend: 'tpu' })\n",
      },
      resolutions.nodenext,
    ),
  ).toEqual(expect.arrayContaining([expect.stringMatching(/wrong\.mts.*TS2322/)]))
})

test('attw has nothing to say', async () => {
  const { code, printed } = await run(
    await host('@arethetypeswrong/cli/dist/index.js'),
    [
      ...['--profile', 'esm-only', '--format', 'ascii', join(await packed(), 'tweedie.tgz')],
      // Scripts of workers, which nobody imports.
      ...['--exclude-entrypoints', 'worker', 'cpu-worker'],
    ],
    await packed(),
  )
  expect({ code, printed }).toEqual({ code: 0, printed: expect.stringContaining('tweedie/node') })
})
