/**
 * A backend's code is loaded when a device of it is requested, and entries with one backend are bundled without the
 * other: seen on the installed package, by what Node loads and by what bundles hold.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import * as esbuild from 'esbuild'
import { beforeAll, describe, expect, test } from 'vitest'
import { emptyProject } from './packed.ts'

let project = ''
beforeAll(async () => void (project = await emptyProject({ webgpu: true })))

interface Run {
  readonly out: string
  readonly err: string
  /** Files of the package, from `dist/`, and of other packages. */
  readonly loaded: string[]
}

/** Runs a module as a user's, in Node, where a file of the package may be missing. */
function run(code: string, missing = 'none'): Run {
  // What is loaded is said by a hook of Node's loader; bindings by the process itself.
  const hook = `import { writeSync } from 'node:fs'
export const load = (url, context, next) => {
  if (url.endsWith('/${missing}')) throw new Error('404')
  writeSync(2, 'loaded ' + url + '\\n')
  return next(url, context)
}`
  const program = `import { register } from 'node:module'
register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)})
${code}
for (const file of process.report.getReport().sharedObjects) console.error('loaded ' + file)`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: project,
    encoding: 'utf8',
    timeout: 60_000,
  })
  const lines = stderr.split('\n')
  const loaded = lines.flatMap((line) => /^loaded .*node_modules\/(?:tweedie\/)?(.*)$/.exec(line)?.[1] ?? [])
  return {
    out: stdout.trim(),
    err: lines.filter((line) => !line.startsWith('loaded ') && !line.startsWith('Warning: ')).join('\n'),
    loaded,
  }
}

/** A file of the package without its comments, whose examples may hold WGSL. */
const code = (path: string): string =>
  readFileSync(`${project}/../node_modules/tweedie/${path}`, 'utf8').replace(/\/\*[\s\S]*?\*\//g, '')
const ofWebGPU = (paths: readonly string[]): string[] =>
  paths.filter((path) => path.startsWith('dist/') && /@compute|WebGPUBackend/.test(code(path)))
const ofCPU = (paths: readonly string[]): string[] => paths.filter((path) => path.startsWith('dist/tensor/cpu/'))

/** A program that adds on a device that was requested so. */
const adding = (entry: string, request = ''): string => `
const { add, Device } = await import('${entry}')
const device = await Device.request(${request})
const x = device.tensor([1, 2])
console.log(device.backend.kind, ...await add(x, 1).read())`

describe('in Node', () => {
  test.each(['tweedie', 'tweedie/tensor', 'tweedie/cpu'])('%s on the CPU loads nothing of WebGPU', (entry) => {
    const { out, err, loaded } = run(adding(entry, entry === 'tweedie/cpu' ? '' : "{ backend: 'cpu' }"))
    expect(out, err).toBe('cpu 2 3')
    expect(ofCPU(loaded)).toContain('dist/tensor/cpu/generated/kernels.js')
    expect(ofWebGPU(loaded)).toEqual([])
    expect(loaded.filter((path) => path.startsWith('webgpu/'))).toEqual([])
  })

  test.each(['tweedie', 'tweedie/webgpu'])('%s on WebGPU loads nothing of the CPU backend', (entry) => {
    const { out, err, loaded } = run(adding(entry, entry === 'tweedie/webgpu' ? '' : "{ backend: 'webgpu' }"))
    expect(out, err).toBe('webgpu 2 3')
    expect(ofWebGPU(loaded)).toContain('dist/tensor/webgpu/backend.js')
    expect(ofCPU(loaded)).toEqual([])
    expect(loaded.some((path) => path.startsWith('webgpu/') && path.endsWith('.node'))).toBe(true)
  })

  test('a backend that the entry has not is a typed error, and what other entries add is there', () => {
    const ask = (backend: string): string =>
      `await Device.request({ backend: '${backend}' }).then(({ backend }) => console.log(backend.kind), ({ code, ` +
      "message }) => console.log(code + ': ' + message))"
    const { out, err } = run(`
import { Device } from 'tweedie/webgpu'
${ask('cpu')}
await import('tweedie/cpu')
${ask('cpu')}`)
    expect(out, err).toBe(
      'cpu-unavailable: This program was made without the backend cpu: import tweedie, which has ' +
        'both, or tweedie/cpu.\ncpu',
    )
    expect(run(`const { Device } = await import('tweedie/cpu')\n${ask('webgpu')}`).out).toMatch(
      /^webgpu-unavailable: .*import tweedie/,
    )
  })

  test('code that is no longer there is a typed error, and auto goes on with what is there', () => {
    const ask = (request: string): string =>
      `console.log(await Device.request(${request}).then(({ backend }) => backend.kind, ({ code, message }) ` +
      "=> code + ': ' + message))"
    const { out, err } = run(`import { Device } from 'tweedie'\n${ask("{ backend: 'cpu' }")}`, 'tensor/cpu/request.js')
    expect(out, err).toBe('cpu-unavailable: The code of the backend cpu does not load (404): load the page again.')
    const withGPU = `
const adapter = { info: { vendor: 'acme' }, limits: { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 28 }, features: new Set() }
Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { gpu: { requestAdapter: async () => adapter } } })
import { Device } from 'tweedie'
${ask("{ backend: 'webgpu' }")}
${ask('')}`
    expect(run(withGPU, 'tensor/webgpu/request.js').out).toBe(
      'webgpu-unavailable: The code of the backend webgpu does not load (404): load the page again.\ncpu',
    )
  })

  test("the host's own navigator.gpu is asked, and npm's webgpu is not even loaded", () => {
    const { out, err, loaded } = run(`
const asked = []
Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { gpu: { requestAdapter: async (options) => (asked.push(options?.powerPreference), null) } } })
const { Device, listAdapters } = await import('tweedie')
console.log((await Device.request({ backend: 'webgpu' }).catch((error) => error)).code, (await Device.request()).backend.kind, (await listAdapters()).length, asked.join())`)
    expect(out, err).toBe('webgpu-unavailable cpu 0 high-performance,high-performance,high-performance,low-power,')
    expect(loaded.filter((path) => path.startsWith('webgpu/'))).toEqual([])
  })
})

describe('bundled', () => {
  interface Bundle {
    /** The files of the package in each output. */
    readonly outputs: {
      readonly entry: boolean
      readonly files: string[]
      /** Those of other packages. */
      readonly others: string[]
      readonly imports: { path: string; kind: string }[]
      readonly path: string
    }[]
  }
  async function bundle(contents: string, splitting = false): Promise<Bundle> {
    const { metafile } = await esbuild.build({
      stdin: { contents, resolveDir: project },
      bundle: true,
      splitting,
      write: false,
      metafile: true,
      outdir: project,
      format: 'esm',
      platform: 'browser',
      logLevel: 'error',
    })
    return {
      outputs: Object.entries(metafile.outputs).map(([path, { inputs, entryPoint, imports }]) => ({
        path,
        imports,
        entry: entryPoint === '<stdin>',
        files: Object.entries(inputs).flatMap(([file, { bytesInOutput }]) =>
          bytesInOutput > 0 ? (/node_modules\/tweedie\/(.*)/.exec(file)?.[1] ?? []) : [],
        ),
        others: Object.entries(inputs).flatMap(([file, { bytesInOutput }]) =>
          bytesInOutput > 0 ? (/node_modules\/((?!tweedie\/).*)/.exec(file)?.[1] ?? []) : [],
        ),
      })),
    }
  }
  const filesOf = async (contents: string): Promise<string[]> =>
    (await bundle(contents)).outputs.flatMap(({ files }) => files)
  /** In chunks: all of them, and what is in those that are fetched at once. */
  async function fetched(contents: string): Promise<Bundle & { files: string[]; others: string[] }> {
    const { outputs } = await bundle(contents, true)
    const atOnce = new Set<string>()
    const fetch = (path: string): void => {
      if (atOnce.has(path)) return
      atOnce.add(path)
      for (const next of outputs.find((output) => output.path === path)?.imports ?? [])
        if (next.kind === 'import-statement') fetch(next.path)
    }
    fetch(outputs.find(({ entry }) => entry)?.path ?? '')
    const first = outputs.filter(({ path }) => atOnce.has(path))
    return { outputs, files: first.flatMap(({ files }) => files), others: first.flatMap(({ others }) => others) }
  }
  const sampling =
    '{ describeModel, Device, diffusionOf, GeneratedNoise, loadModel, openCheckpoint, sampleLoop, ' +
    'selfGuidance, urlSource }'

  test('in one file, entries with one backend hold nothing of the other', async () => {
    const gpu = await filesOf("export * from 'tweedie/webgpu'")
    expect(ofWebGPU(gpu)).not.toEqual([])
    expect(ofCPU(gpu)).toEqual([])
    const cpu = await filesOf("export * from 'tweedie/cpu'")
    expect(ofCPU(cpu)).not.toEqual([])
    expect(ofWebGPU(cpu)).toEqual([])
    const both = await filesOf("export * from 'tweedie'")
    expect([ofCPU(both).length, ofWebGPU(both).length]).toEqual([ofCPU(cpu).length, ofWebGPU(gpu).length])
  })

  test.each([
    ['loads and samples', sampling, ['diffusion', 'io', 'nn', 'platform', 'shaders', 'tensor']],
    ['uses Tweedie', '{ Tweedie }', ['data', 'diffusion', 'io', 'nn', 'platform', 'shaders', 'tensor', 'tweedie']],
  ])('what only %s holds nothing of training', async (_, names, expected) => {
    const files = await filesOf(`export ${names} from 'tweedie/webgpu'`)
    const rooms = new Set(files.map((file) => file.split('/')[1]))
    expect([...rooms].filter((room) => !room?.endsWith('.js')).sort()).toEqual(expected)
  })

  test('rooms by themselves hold no backend', async () => {
    const parts = await filesOf(
      "export { loadModel } from 'tweedie/nn'\nexport { sampleLoop } from 'tweedie/diffusion'",
    )
    expect([...ofCPU(parts), ...ofWebGPU(parts)]).toEqual([])
  })

  test('in chunks, the backends are those that are fetched only when used', async () => {
    const { outputs, files } = await fetched(`export ${sampling} from 'tweedie'`)
    expect(files).toContain('dist/tensor/device.js')
    expect([...ofCPU(files), ...ofWebGPU(files)]).toEqual([])
    expect(outputs.some((output) => ofCPU(output.files).length > 0 && ofWebGPU(output.files).length > 0)).toBe(false)
  })

  test('in chunks, what writes PNG files for a record is fetched only when one is made', async () => {
    const drawing = await fetched("export { Tweedie } from 'tweedie'")
    expect(drawing.files).toContain('dist/tweedie/record.js')
    expect(drawing.files).not.toContain('dist/data/png-writer.js')
    expect(drawing.others).toEqual([])
    expect(drawing.outputs.flatMap(({ files }) => files)).toContain('dist/data/png-writer.js')
    // Pictures are read by a program that writes none.
    const reading = await fetched("export { decodeImage, Tweedie } from 'tweedie'")
    expect(reading.files).toContain('dist/data/png.js')
    expect(new Set(reading.others.map((file) => file.split('/')[0]))).toEqual(new Set(['fflate']))
  })

  test('tweedie.min.js imports its own chunks and nothing else, and comes with the licences of its parts', async () => {
    const folder = `${project}/../node_modules/tweedie/dist/browser`
    const { metafile } = await esbuild.build({
      entryPoints: [`${folder}/tweedie.min.js`],
      bundle: true,
      packages: 'external',
      write: false,
      metafile: true,
      format: 'esm',
      platform: 'browser',
      logLevel: 'error',
    })
    expect(Object.values(metafile.inputs).flatMap(({ imports }) => imports.filter(({ external }) => external))).toEqual(
      [],
    )
    const others = ['client.min.js', 'cpu-worker.js', 'worker.min.js']
    const chunks = readdirSync(folder).filter((name) => name.endsWith('.js') && !others.includes(name))
    expect(
      Object.keys(metafile.inputs)
        .map((path) => basename(path))
        .sort(),
    ).toEqual(chunks.sort())
    expect(
      readFileSync(`${folder}/LICENSES.txt`, 'utf8')
        .match(/^[\w@/-]+ [\d.]+: .*$/gm)
        ?.map((line) => line.split(' ')[0]),
    ).toEqual(['tweedie', 'comlink', 'fast-png', 'fflate', 'iobuffer'])
  })
})
