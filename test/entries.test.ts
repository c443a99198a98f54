/**
 * The package's entries as its users meet them, in an empty folder with what `npm pack` and `npm install` put there
 * (test/packed.ts): they load in Node, and their types compile in every resolution and need nothing that is not there.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { beforeAll, describe, expect, test } from 'vitest'
import { complaints, resolutions } from './compile.ts'
import { emptyProject, npmOutput, packed } from './packed.ts'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string; exports: Record<string, unknown> }
/** Those that are modules, as they are imported. */
const entries = Object.keys(manifest.exports).filter((name) => !/[*]|\.json$/.test(name)).map((name) => name.replace('.', 'tweedie'))

let folder: string
beforeAll(async () => void (folder = await emptyProject()))

/** Runs a module of the user's and gives what it printed. */
function run(code: string): string {
  writeFileSync(join(folder, 'program.mjs'), code)
  return execFileSync(process.execPath, ['program.mjs'], { cwd: folder, encoding: 'utf8' })
}

test('npm installs it without a warning, and what it installs holds no file of the build', async () => {
  const shared = await packed()
  expect(npmOutput(shared)).toMatch(/^\s*added \d+ packages in \S+\s*$/)
  const files = readdirSync(join(shared, 'node_modules/tweedie'), { recursive: true }).map(String)
  expect(files.filter((name) => /(^|[/\\])\.|\.(tmp|tsbuildinfo)$|^src\b|^test\b/.test(name))).toEqual([])
})

test('publint has nothing to say', async () => {
  const { messages, pkg } = await publint({ pkgDir: join(await packed(), 'node_modules/tweedie'), strict: true, pack: false })
  expect(messages.map((message) => formatMessage(message, pkg))).toEqual([])
})

test('every entry loads in Node, and all share their modules', () => {
  const printed = run(`
    const entries = await Promise.all(${JSON.stringify(entries)}.map((name) => import(name)))
    for (const entry of entries) console.log(Object.keys(entry).length)
    const [main, , tensor, node] = await Promise.all(['tweedie', 'tweedie/nn', 'tweedie/tensor', 'tweedie/node'].map((name) => import(name)))
    console.log(main.Device === tensor.Device, main.Device === node.Device, typeof node.openFile, typeof node.openImages)`)
  const lines = printed.trim().split('\n')
  expect(lines.length).toBe(entries.length + 1)
  expect(lines.slice(0, -1).every((line) => Number(line) > 0)).toBe(true)
  expect(lines.at(-1)).toBe('true true function function')
})

test('the shipped weights and package.json are found by their names in the package', () => {
  expect(run(`
    import { createRequire } from 'node:module'
    import { describeModel, openCheckpoint, openFile } from 'tweedie/node'
    const checkpoint = await openCheckpoint(await openFile(import.meta.resolve('tweedie/weights/bccd32-adm.safetensors')))
    console.log(describeModel(checkpoint).config.imageSize, createRequire(import.meta.url)('tweedie/package.json').version)`)).toBe(`32 ${manifest.version}\n`)
})

describe('types', () => {
  const all = {
    'all.mts': entries.map((name, i) => `import * as entry${i} from '${name}'\nexport const names${i}: string[] = Object.keys(entry${i})`).join('\n'),
  }

  test.each(Object.entries(resolutions))('%s: of all entries, where there is no DOM, no Node, no WebGPU', (_, resolution) => {
    expect(complaints(folder, all, { ...resolution, lib: ['es2022'] })).toEqual([])
  })

  test.each<[string, object]>([
    ['ES2022, the default libraries', {}],
    ['ES2020, the default libraries', { target: 'es2020' }],
    ['a worker', { lib: ['es2022', 'webworker'] }],
    ['as tsc --init sets it up', {
      target: 'esnext', noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, verbatimModuleSyntax: true, isolatedModules: true,
      noUncheckedSideEffectImports: true, moduleDetection: 'force',
    }],
  ])('nodenext: of all entries: %s', (_, options) => {
    expect(complaints(folder, all, { module: 'nodenext', ...options })).toEqual([])
  })

  test("with Node's types, and none of the DOM's", async () => {
    const node = await emptyProject({ types: ['@types/node', 'undici-types'] })
    expect(complaints(node, all, { module: 'nodenext', lib: ['es2023'], types: ['node'] })).toEqual([])
  })

  test("with WebGPU's types: the user's GPUDevice goes in, and is no other type than theirs", async () => {
    const gpu = await emptyProject({ types: ['@webgpu/types'] })
    const program = (value: string): Record<string, string> => ({
      'gpu.mts': `import { Device } from 'tweedie'\nexport const use = (mine: GPUDevice): Promise<Device> => Device.request({ gpuDevice: ${value} })`,
    })
    for (const resolution of Object.values(resolutions)) expect(complaints(gpu, program('mine'), { ...resolution, types: ['@webgpu/types'] })).toEqual([])
    expect(complaints(gpu, program('{}'), { module: 'nodenext', types: ['@webgpu/types'] })).toEqual([expect.stringMatching(/^gpu.mts:2: Type '\{\}' is missing .* from type 'GPUDevice'/)])
  })
})
