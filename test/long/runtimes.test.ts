/**
 * The installed package in Deno and Bun, beside Node: two steps of the shipped model on the CPU backend are the
 * same bits, the process ends by itself, and the command line draws the same files. Deno is given what it needs
 * and no more: reading.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { emptyProject } from '../packed.ts'
import { host, runtimes } from './hosts.ts'

const program = `
import { describeModel, Device, diffusionOf, GeneratedNoise, loadModel, openCheckpoint, openFile, sample } from 'tweedie'
const checkpoint = await openCheckpoint(await openFile(process.argv[2]))
const description = describeModel(checkpoint)
const device = await Device.request({ backend: 'cpu', threads: 2, simd: 'plain' })
const model = await loadModel(device, checkpoint, description)
const noise = new GeneratedNoise(device, { seed: 5, samples: [0], shape: [3, 32, 32] })
const x = await sample(diffusionOf(description, { respacing: 2 }), model, { noise })
console.log(JSON.stringify([...await x.read()]))
console.log(device.adapter.name)`

let project = ''
let weights = ''
beforeAll(async () => {
  project = await emptyProject()
  weights = join(project, '../node_modules/tweedie/weights/bccd32-adm.safetensors')
  writeFileSync(join(project, 'draw.mjs'), program)
})

/** What a process writes; it must end well, by itself, and complain of nothing. */
function output(command: string, args: readonly string[]): string {
  const { status, signal, stdout, stderr } = spawnSync(command, args, {
    cwd: project,
    encoding: 'utf8',
    timeout: 120_000,
    env: { ...process.env, NO_COLOR: '1' },
  })
  expect({ status, signal }, stderr).toEqual({ status: 0, signal: null })
  return stdout
}

const sampling = (out: string): string[] => [
  'sample',
  '--model',
  weights,
  '--respacing',
  '2',
  '--number',
  '2',
  '--backend',
  'cpu',
  '--simd',
  'plain',
  '--threads',
  '2',
  '--out',
  out,
]

/** The folder that the command line leaves. */
function drawn(command: string, args: readonly string[]): Record<string, string> {
  const out = mkdtempSync(join(project, 'out-'))
  output(command, [...args, join(project, '../node_modules/tweedie/bin/tweedie.js'), ...sampling(join(out, 'drawn'))])
  return Object.fromEntries(
    readdirSync(join(out, 'drawn'))
      .filter((name) => name.endsWith('.png'))
      .map((name) => [name, readFileSync(join(out, 'drawn', name), 'hex')]),
  )
}

describe.each([
  ['Deno', ['run', '--allow-read'], ['run', '--allow-all']],
  ['Bun', [], []],
] as const)('%s', (name, least, all) => {
  test('draws what Node draws, to the bit, and ends by itself', async () => {
    const found = output(await host(runtimes[name]), [...least, 'draw.mjs', weights])
    expect(found.split('\n').at(-2)).toBe('CPU, 2 threads, SIMD')
    expect(found).toBe(output(process.execPath, ['draw.mjs', weights]))
  })

  test('runs the command line', async () => {
    const pictures = drawn(await host(runtimes[name]), all)
    expect(Object.keys(pictures)).toEqual(['contact-sheet.png', 'sample-0000.png', 'sample-0001.png'])
    expect(pictures).toEqual(drawn(process.execPath, []))
  })
})

test("Deno computes on its own WebGPU, with npm's installed beside", async () => {
  const folder = await emptyProject({ webgpu: true })
  writeFileSync(
    join(folder, 'add.mjs'),
    `
import { add, Device, listAdapters } from 'tweedie'
const device = await Device.request({ backend: 'webgpu' })
console.log(device.backend.gpuDevice instanceof GPUDevice, (await listAdapters()).some(({ name }) => name === device.adapter.name), ...await add(device.tensor([1, 2, 3]), 1).read())`,
  )
  expect(output(await host(runtimes.Deno), ['run', '--allow-read', join(folder, 'add.mjs')])).toBe('true true 2 3 4\n')
})
