/**
 * The package as others meet it: what it exports, what a browser bundle of it holds, which part knows which, and that a
 * Node process which uses it ends by itself, computes on the CPU or on SwiftShader, and says clearly when
 * there is no adapter.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import * as esbuild from 'esbuild'
import { beforeAll, describe, expect, test } from 'vitest'
import { emptyProject } from './packed.ts'
import * as browserPlatform from '../src/platform/index.ts'
import * as nodePlatform from '../src/platform/index.node.ts'
import { version } from '../src/version.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

describe('sources', () => {
  // What every file may import.
  const common = ['errors.ts', 'abort.ts', 'chunk.ts', 'suggest.ts', 'printable.ts', 'refuse.ts', 'version.ts']
  // Which rooms a room may import beside them. The files of src/ itself are the package's entries and may use all
  // but the command line.
  const rooms: Record<string, string[]> = {
    'dispose.ts': [],
    'errors.ts': ['dispose.ts'],
    'abort.ts': [],
    'suggest.ts': [],
    'refuse.ts': [],
    'version.ts': [],
    platform: [],
    shaders: [],
    tensor: ['platform', 'shaders'],
    nn: ['shaders', 'tensor'],
    io: ['tensor', 'nn'],
    data: ['tensor', 'io'],
    // What features a net has is asked of a set of images.
    metrics: ['tensor', 'nn', 'io', 'data'],
    // The second of two stages sees the bytes of a picture; levels are cut at quantiles.
    diffusion: ['tensor', 'nn', 'io', 'data', 'metrics'],
    train: ['tensor', 'nn', 'io', 'data', 'metrics', 'diffusion'],
    tweedie: ['platform', 'tensor', 'nn', 'io', 'data', 'metrics', 'diffusion', 'train'],
    bench: ['shaders', 'tensor', 'nn', 'io', 'diffusion'],
    client: ['platform', 'tensor', 'data', 'tweedie'],
    cli: [
      'platform',
      'tensor',
      'nn',
      'io',
      'data',
      'metrics',
      'diffusion',
      'train',
      'tweedie',
      'bench',
      'index.ts',
      'index.node.ts',
      'tensor.ts',
    ],
    'library.ts': ['tensor', 'nn', 'io', 'data', 'metrics', 'diffusion', 'train', 'tweedie'],
    'index.ts': ['tensor', 'library.ts'],
    'webgpu.ts': ['tensor', 'library.ts'],
    'cpu.ts': ['tensor', 'library.ts'],
    'tensor.ts': ['tensor'],
    'index.node.ts': ['tensor', 'nn', 'io', 'data', 'metrics', 'diffusion', 'train', 'tweedie', 'index.ts'],
  }
  const files = readdirSync(join(root, 'src'), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  const roomOf = (file: string): string => file.split('/')[0]

  interface Import {
    from: string
    to: string
    typeOnly: boolean
  }
  const imports: Import[] = files.flatMap((from) =>
    [
      // `import … from 'x'`, `export … from 'x'`, `import 'x'` and `import('x')`; a clause of other statements cannot
      // match, for it has no quote.
      ...read(`src/${from}`).matchAll(
        /^\s*(?:import|export)\s+(type\s)?(?:[^'"`;=]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'/gm,
      ),
    ].map((match) => {
      const to = match[2] ?? match[3] ?? ''
      const path =
        to === '#platform' ? 'platform/index.ts' : to.startsWith('.') ? relative('.', join(dirname(from), to)) : to
      return { from, to: path, typeOnly: match[1] !== undefined }
    }),
  )
  const inner = imports.filter(({ to }) => to.endsWith('.ts'))

  test('every import is found, and leads to a file', () => {
    expect(inner.length).toBeGreaterThan(files.length / 2)
    expect(inner.filter(({ to }) => !existsSync(join(root, 'src', to)))).toEqual([])
  })

  test('the version of the sources is that of the package', () => {
    expect(version).toBe((JSON.parse(read('package.json')) as { version: string }).version)
  })

  test('what the commands print goes through print.ts, for texts of files are among it', () => {
    const others = files.filter((file) => /^cli\/(?!print\.ts)/.test(file))
    expect(others.length).toBeGreaterThan(50)
    const write = /\bconsole\b|\bstd(out|err)\.write\b/
    expect(others.filter((file) => write.test(read(`src/${file}`)))).toEqual([])
  })

  test('no room imports upward', () => {
    const upward = inner.filter(({ from, to }) => {
      const [room, other] = [roomOf(from), roomOf(to)]
      return room !== other && !common.includes(other) && !rooms[room]?.includes(other)
    })
    expect(upward.map(({ from, to }) => `${from} imports ${to}`)).toEqual([])
  })

  /** The files of each circle: those that import each other by some way. (Tarjan's strongly connected components.) */
  function circles(imports: readonly Import[]): string[][] {
    const next = new Map(files.map((file) => [file, imports.filter(({ from }) => from === file).map(({ to }) => to)]))
    const found: string[][] = []
    const open: string[] = []
    const number = new Map<string, number>()
    /** The lowest number of a file still open that `file` leads to. */
    const visit = (file: string): number => {
      const own = number.size
      number.set(file, own)
      open.push(file)
      let low = own
      for (const to of next.get(file) ?? []) {
        const known = number.get(to)
        if (known === undefined) low = Math.min(low, visit(to))
        else if (open.includes(to)) low = Math.min(low, known)
      }
      if (low === own) found.push(open.splice(open.indexOf(file)))
      return low
    }
    for (const file of files) if (!number.has(file)) visit(file)
    return found.filter(({ length }) => length > 1)
  }

  test('no file imports itself by a detour when it runs', () => {
    expect(circles(inner.filter(({ typeOnly }) => !typeOnly))).toEqual([])
  })

  test('what is disposed finds Symbol.dispose before its class is made, also in browsers that lack it', () => {
    const next = new Map(
      files.map((file) => [file, inner.filter(({ from, typeOnly }) => from === file && !typeOnly).map(({ to }) => to)]),
    )
    /** The file and all that it imports, by some way. */
    const reached = (file: string, all = new Set([file])): Set<string> => {
      for (const to of next.get(file) ?? []) if (!all.has(to)) reached(to, all.add(to))
      return all
    }
    const disposable = files.filter((file) => read(`src/${file}`).includes('[Symbol.dispose]'))
    expect(disposable.length).toBeGreaterThan(10)
    expect(disposable.filter((file) => !reached(file).has('dispose.ts'))).toEqual([])
  })

  test('with types, no more than eight files must be understood together', () => {
    // What a tensor is: its device, the tape and op they know, and the ops with which the tape adds gradients up.
    expect(circles(inner).filter(({ length }) => length > 8)).toEqual([])
  })

  // The folders inside a room, from the lowest: a file imports those of its own folder and of folders before it.
  test.each([
    ['cli', ['.', 'options', 'recipes', 'training', 'sampling', 'pages', 'scoring', 'evaluating', 'commands']],
    ['diffusion', ['process', 'guidance', 'sampling', 'minority']],
  ])('no folder of %s imports one that lies above it', (room, order) => {
    const top = [`${room}/main.ts`, `${room}/index.ts`]
    const height = (file: string): number => order.indexOf(dirname(relative(room, file)))
    const inside = inner.filter(({ from, to }) => roomOf(from) === room && roomOf(to) === room && !top.includes(from))
    expect(new Set(inside.flatMap(({ from, to }) => [height(from), height(to)]))).toEqual(new Set(order.keys()))
    expect(
      inside.filter(({ from, to }) => height(to) > height(from)).map(({ from, to }) => `${from} imports ${to}`),
    ).toEqual([])
  })

  test("only the command line and *.node.ts import Node's modules", () => {
    const own = inner.filter(
      ({ from, to }) => to.endsWith('.node.ts') && !from.endsWith('.node.ts') && roomOf(from) !== 'cli',
    )
    const node = imports.filter(
      ({ from, to }) => to.startsWith('node:') && !from.endsWith('.node.ts') && roomOf(from) !== 'cli',
    )
    expect([...node, ...own].map(({ from, to }) => `${from} imports ${to}`)).toEqual([])
  })

  test('both platforms export the same', () => {
    const browser: typeof nodePlatform = browserPlatform
    const node: typeof browserPlatform = nodePlatform
    expect(Object.keys(node).sort()).toEqual(Object.keys(browser).sort())
  })
})

test('the sources bundle without a warning', async () => {
  const { warnings } = await esbuild.build({
    entryPoints: ['src/index.ts'],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    logLevel: 'silent',
  })
  expect(warnings).toEqual([])
})

describe('installed', () => {
  // In an empty folder, once as npm leaves it and once with the optional peer `webgpu`.
  let folder: string
  let withWebGPU: string
  beforeAll(async () => {
    folder = await emptyProject()
    withWebGPU = await emptyProject({ webgpu: true })
  })

  test("the browser's bundle has nothing of Node in it", async () => {
    const { outputFiles, metafile } = await esbuild.build({
      stdin: { contents: "export * from 'tweedie'", resolveDir: folder },
      bundle: true,
      minify: true,
      write: false,
      metafile: true,
      format: 'esm',
      platform: 'browser',
    })
    const inputs = Object.entries(metafile.inputs)
    expect(inputs.filter(([path]) => path.endsWith('.node.js')).map(([path]) => path)).toEqual([])
    expect(
      inputs.flatMap(([, { imports }]) => imports.filter(({ path, external }) => external || path.startsWith('node:'))),
    ).toEqual([])
    const code = outputFiles[0].contents
    console.log(
      `tweedie for the browser: ${(code.length / 1024).toFixed(0)} KB, ` +
        `${(gzipSync(code).length / 1024).toFixed(0)} KB gzipped`,
    )
    expect(new TextDecoder().decode(code)).toContain('navigator')
  })

  /** Runs a module in a process of its own. */
  const runScript = (
    code: string,
    env: NodeJS.ProcessEnv = {},
    cwd = withWebGPU,
  ): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, ['--input-type=module', '--eval', code], {
      cwd,
      encoding: 'utf8',
      timeout: 60_000,
      env: { ...process.env, ...env },
    })
  const compute = (backend: string): string => `
    import { Device, add } from 'tweedie'
    const device = await Device.request({ backend: '${backend}' })
    const x = device.tensor([1, 2, 3])
    console.log(device.adapter.name, ...await add(x, x).read())`

  test.each(['webgpu', 'cpu', 'auto'])(
    'a Node script that never disposes of its device ends by itself: %s',
    (backend) => {
      const { status, stdout, stderr } = runScript(compute(backend))
      expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' })
      expect(stdout).toMatch(/ 2 4 6\n$/)
    },
  )

  test('the CPU backend says nothing on stderr, whatever drivers there are', () => {
    const { stdout, stderr } = runScript(compute('cpu'))
    expect(stdout).toMatch(/^CPU, \d+ threads?, (relaxed )?SIMD 2 4 6\n$/)
    expect(stderr).toBe('')
  })

  test('without the package webgpu the CPU computes, silently, and WebGPU by name says what to install', () => {
    expect(runScript(compute('auto'), {}, folder)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^CPU.* 2 4 6\n$/),
      stderr: '',
    })
    const { stdout } = runScript(
      `
      import { Device, TweedieError } from 'tweedie'
      try { await Device.request({ backend: 'webgpu' }) } catch (error) { console.log(error instanceof TweedieError, error.code, error.message) }`,
      {},
      folder,
    )
    expect(stdout).toMatch(/^true webgpu-unavailable .*npm install webgpu/)
  })

  test('npx tweedie draws', () => {
    const argv = ['tweedie', 'sample', '--model', 'bccd32', '--respacing', '2', '--number', '1', '--out', 'cells']
    const { status, stderr } = spawnSync('npx', argv, {
      cwd: folder,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    })
    expect(status, stderr).toBe(0)
    expect(readdirSync(join(folder, 'cells'))).toEqual(
      expect.arrayContaining(['contact-sheet.png', 'report.html', 'run.json', 'sample-0000.png']),
    )
  })

  test('charts are drawn by what the build has bundled, with its licences: no package of it is installed', async () => {
    const above = join(folder, '../node_modules')
    const pages = join(above, 'tweedie/dist/cli/pages')
    const { lineChart } = (await import(join(pages, 'chart.js'))) as typeof import('../src/cli/pages/chart.ts')
    const lines = [{ name: 'loss', x: [1, 2], y: [2, 1] }]
    expect(await lineChart({ title: 'loss', x: { label: 'step' }, y: { label: 'loss' }, lines })).toMatch(/<svg.*<path/)
    expect(readdirSync(above).filter((name) => /^(d3|linkedom|@observablehq)/.test(name))).toEqual([])
    const licences = readFileSync(join(pages, 'LICENSES.txt'), 'utf8')
    expect(licences).toMatch(/^@observablehq\/plot [\d.]+: ISC$/m)
    expect(licences).toMatch(/^linkedom [\d.]+: ISC$/m)
  })

  // The drivers of Linux are chosen by environment variables; elsewhere the system's own driver is the only one.
  if (process.platform === 'linux') {
    if (process.arch === 'x64') {
      test('SwiftShader, which comes with the development dependencies, computes', () => {
        const env = runScript(
          "import { swiftShaderEnvironment } from './scripts/vulkan.js'; " +
            'console.log(JSON.stringify(swiftShaderEnvironment()))',
          {},
          root,
        ).stdout
        const { stdout, stderr } = runScript(compute('webgpu'), JSON.parse(env))
        expect(stdout, stderr).toMatch(/^SwiftShader.* 2 4 6\n$/)
      })
    }

    test('without an adapter the CPU computes, silently where there is no GPU', () => {
      const { stdout, stderr } = runScript(compute('auto'), {
        VK_DRIVER_FILES: '/nonexistent',
        VK_ICD_FILENAMES: '/nonexistent',
      })
      expect(stdout).toMatch(/^CPU.* 2 4 6\n$/)
      // With a GPU's device file and no driver for it, Dawn is asked, and warns.
      expect(nodePlatform.mayHaveGPU() ? '' : stderr).toBe('')
    })

    test('without an adapter WebGPU by name is a typed error that says what to do', () => {
      const { status, stdout, stderr } = runScript(
        `
        import { Device, TweedieError } from 'tweedie'
        try { await Device.request({ backend: 'webgpu' }) } catch (error) { console.log(error instanceof TweedieError, error.code, error.message) }`,
        { VK_DRIVER_FILES: '/nonexistent', VK_ICD_FILENAMES: '/nonexistent' },
      )
      expect(status, stderr).toBe(0)
      expect(stdout).toMatch(/^true webgpu-unavailable .*mesa-vulkan-drivers/)
    })
  }
})
