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
import { emptyProject, entries, importOfAll, npmOutput, packed, version } from './packed.ts'
import { describeShared, shared } from './shared.ts'

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
  const { messages, pkg } = await publint({
    pkgDir: join(await packed(), 'node_modules/tweedie'),
    strict: true,
    pack: false,
  })
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

test('a program in CommonJS gets it too, by require', () => {
  expect(
    execFileSync(
      process.execPath,
      ['--input-type=commonjs', '--eval', "console.log(typeof require('tweedie').openFile)"],
      { cwd: folder, encoding: 'utf8' },
    ),
  ).toBe('function\n')
})

test('the shipped weights and package.json are found by their names in the package', () => {
  expect(
    run(`
    import { createRequire } from 'node:module'
    import { describeModel, openCheckpoint, openFile } from 'tweedie/node'
    const checkpoint = await openCheckpoint(await openFile(import.meta.resolve('tweedie/weights/bccd32-adm.safetensors')))
    console.log(describeModel(checkpoint).config.imageSize, createRequire(import.meta.url)('tweedie/package.json').version)`),
  ).toBe(`32 ${version}\n`)
})

test("Tweedie.load('bccd32') finds the shipped set in the package, and draws", () => {
  expect(
    run(`
    import { Tweedie } from 'tweedie'
    const model = await Tweedie.load('bccd32')
    for await (const { images, done, total } of model.sample({ number: 1, steps: 2, seed: 0 })) console.log(done, total, ...images.map(({ width, height, data }) => [width, height, new Set(data).size > 30]))
    model.dispose()`),
  ).toBe('1 2\n2 2 [ 32, 32, true ]\n')
})

describe('types', () => {
  const all = { 'all.mts': importOfAll }

  test.each(Object.entries(resolutions))(
    '%s: of all entries, where there is no DOM, no Node, no WebGPU',
    (_, resolution) => {
      expect(complaints(folder, all, { ...resolution, lib: ['es2022'] })).toEqual([])
    },
  )

  test.each<[string, object]>([
    ['ES2022, the default libraries', {}],
    ['ES2020, the default libraries', { target: 'es2020' }],
    ['a worker', { lib: ['es2022', 'webworker'] }],
    [
      'as tsc --init sets it up',
      {
        target: 'esnext',
        noUncheckedIndexedAccess: true,
        exactOptionalPropertyTypes: true,
        verbatimModuleSyntax: true,
        isolatedModules: true,
        noUncheckedSideEffectImports: true,
        moduleDetection: 'force',
      },
    ],
  ])('nodenext: of all entries: %s', (_, options) => {
    expect(complaints(folder, all, { module: 'nodenext', ...options })).toEqual([])
  })

  test("with Node's types, and none of the DOM's", async () => {
    const node = await emptyProject({ types: ['@types/node', 'undici-types'] })
    expect(complaints(node, all, { module: 'nodenext', lib: ['es2023'], types: ['node'] })).toEqual([])
  })

  test('what comes out goes into what takes bytes and pictures, and back', () => {
    const page = `
      import { batchOf, drawImage, encodePng, encodeSafetensors, imageDataOf, imageFrom, imageOf, type Device } from 'tweedie'
      export async function page(device: Device, canvas: HTMLCanvasElement, offscreen: OffscreenCanvas, context: CanvasRenderingContext2D): Promise<Blob> {
        const x = device.tensor([[1, 2], [3, 4]])
        const values: Float32Array<ArrayBuffer> = await x.read()
        const image = imageOf(values, [1, 1, 2, 2])
        context.putImageData(imageDataOf(image), 0, 0)
        context.putImageData(new ImageData(new Uint8ClampedArray(values.buffer), 1), 0, 0)
        drawImage(canvas, image)
        drawImage(offscreen, image)
        const batch: Float32Array<ArrayBuffer> = batchOf([canvas, offscreen, context.getImageData(0, 0, 2, 2)].map(imageFrom), { size: 2, channels: 3 })
        x.write([...batch.subarray(0, 4)])
        return new Blob([values, encodePng(image), ...encodeSafetensors([['x', { shape: x.shape, data: values }]])])
      }`
    const elsewhere = `
      import { imageDataOf, imageFrom, imageOf } from 'tweedie'
      const { data, width } = imageDataOf(imageOf([0, 1], [1, 1, 1, 2]))
      export const bytes: Uint8ClampedArray = data
      export const back = imageFrom({ data, width, height: 1 })`
    expect(complaints(folder, { 'page.mts': page }, { module: 'nodenext' })).toEqual([])
    expect(complaints(folder, { 'elsewhere.mts': elsewhere }, { module: 'nodenext', lib: ['es2022'] })).toEqual([])
  })

  test("with WebGPU's types: the user's GPUDevice goes in, and is no other type than theirs", async () => {
    const gpu = await emptyProject({ types: ['@webgpu/types'] })
    const program = (value: string): Record<string, string> => ({
      'gpu.mts':
        "import { Device } from 'tweedie'\nexport const use = (mine: GPUDevice): Promise<Device> => " +
        `Device.request({ gpuDevice: ${value} })`,
    })
    for (const resolution of Object.values(resolutions))
      expect(complaints(gpu, program('mine'), { ...resolution, types: ['@webgpu/types'] })).toEqual([])
    expect(complaints(gpu, program('{}'), { module: 'nodenext', types: ['@webgpu/types'] })).toEqual([
      expect.stringMatching(/^gpu.mts:2: Type '\{\}' is missing .* from type 'GPUDevice'/),
    ])
  })
})

describeShared("a stranger's project in TypeScript (../shared/cases/typescript-entry)", () => {
  test.each(['node16', 'nodenext'] as const)(
    '%s: the first README compiles, and the first docs',
    async (resolution) => {
      const node = await emptyProject({ types: ['@types/node', 'undici-types'] })
      const files = Object.fromEntries(
        ['readme.mts', 'training.mts'].map((name) => [
          name,
          readFileSync(shared(`cases/typescript-entry/${name}`), 'utf8'),
        ]),
      )
      const { compilerOptions } = JSON.parse(readFileSync(shared('cases/typescript-entry/tsconfig.json'), 'utf8')) as {
        compilerOptions: object
      }
      expect(complaints(node, files, { ...compilerOptions, ...resolutions[resolution], skipLibCheck: false })).toEqual(
        [],
      )
    },
  )
})
