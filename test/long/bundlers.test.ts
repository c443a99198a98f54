/**
 * Pages built from the installed package with Vite, webpack and esbuild: not one warning, and in Chromium they draw on
 * the CPU backend, workers and all, what Node draws, and fetch nothing of the other backend.
 */
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as esbuild from 'esbuild'
import { beforeAll, describe, expect, test } from 'vitest'
import { chromium, html, isolation, posting, visit } from '../chromium.ts'
import { emptyProject } from '../packed.ts'
import { host } from './hosts.ts'

// biome-ignore lint/suspicious/noExplicitAny: a bundler that this package does not install, and so has no types of
const load = async (path: string): Promise<any> => import(pathToFileURL(await host(path)).href)

/** Two steps of the shipped set, its minority classifier and feature net. */
const program = (weights: string): string => `
import { Tweedie } from 'tweedie'
async function run() {
  const model = await Tweedie.load('bccd32', { backend: 'cpu', threads: 2, simd: 'plain', batch: 1, weights: ${weights} })
  let pictures = []
  for await (const { images } of model.sample({ number: 1, steps: 2, seed: 5, method: 'minority-guided' })) pictures = images
  const adapter = model.device.adapter.name
  model.dispose()
  return { adapter, pictures: pictures.map(({ data }) => [...data]) }
}`

interface Result {
  readonly error?: string
  readonly adapter: string
  readonly pictures: readonly (readonly number[])[]
}

/**
 * Builds `main.js` of a folder, with `index.html` for those that start from one, into its folder `built`, and gives
 * what it was warned of.
 */
type Bundler = (folder: string) => Promise<string[]>

const bundlers: Record<string, Bundler> = {
  async vite(folder) {
    const { build, createLogger } = await load('vite/dist/node/index.js')
    const warnings: string[] = []
    const warn = (message: string): void => void warnings.push(message)
    const customLogger = { ...createLogger('silent'), warn, warnOnce: warn, error: warn }
    await build({
      root: folder,
      configFile: false,
      customLogger,
      build: { outDir: 'built', sourcemap: true, target: 'es2022' },
    })
    return warnings
  },
  async webpack(folder) {
    const { default: webpack } = await load('webpack/lib/index.js')
    const compiler = webpack({
      mode: 'production',
      context: folder,
      entry: './main.js',
      devtool: 'source-map',
      output: { path: join(folder, 'built'), filename: 'main.js' },
      module: { rules: [{ test: /\.js$/, enforce: 'pre', use: [await host('source-map-loader/dist/cjs.js')] }] },
    })
    type Stats = { toJson(options: object): { warnings: Error[]; errors: Error[] } }
    const stats = await new Promise<Stats>((resolve, reject) =>
      compiler.run((error: Error | null, stats: Stats) => (error ? reject(error) : resolve(stats))),
    )
    await new Promise((resolve) => compiler.close(resolve))
    const { warnings, errors } = stats.toJson({ all: false, warnings: true, errors: true })
    return [...warnings, ...errors].map(({ message }) => message)
  },
  async esbuild(folder) {
    const { warnings } = await esbuild.build({
      absWorkingDir: folder,
      entryPoints: ['main.js'],
      bundle: true,
      splitting: true,
      minify: true,
      sourcemap: true,
      format: 'esm',
      outdir: 'built',
      logLevel: 'silent',
    })
    return warnings.map(({ text }) => text)
  },
}

describe.runIf(chromium)('a page built by', () => {
  let folder = ''
  let expected: Result
  beforeAll(async () => {
    folder = await emptyProject()
    writeFileSync(join(folder, 'main.js'), posting(program("'/weights/'")))
    writeFileSync(join(folder, 'index.html'), html('<script type="module" src="./main.js"></script>'))
    writeFileSync(join(folder, 'node.mjs'), `${program('undefined')}\nexport const result = await run()`)
    expected = (await import(pathToFileURL(join(folder, 'node.mjs')).href)).result as Result
  })

  test.each(Object.keys(bundlers))('%s', async (name) => {
    const built = join(folder, 'built')
    rmSync(built, { recursive: true, force: true })
    mkdirSync(built)
    expect(await bundlers[name](folder)).toEqual([])
    const weights = join(folder, '../node_modules/tweedie')
    const page =
      name === 'vite'
        ? readFileSync(join(built, 'index.html'), 'utf8')
        : html('<script type="module" src="/main.js"></script>')
    const serve = (path: string): string | Buffer | null => {
      if (path === '/') return page
      const file = join(path.startsWith('/weights/') ? weights : built, path)
      return statSync(file, { throwIfNoEntry: false })?.isFile() ? readFileSync(file) : null
    }
    const { result, requested } = await visit<Result>({ serve, headers: isolation })
    expect(result.error).toBeUndefined()
    expect(result).toEqual(expected)
    expect(result.adapter).toBe('CPU, 2 threads, SIMD')
    expect(result.pictures[0]).toHaveLength(32 * 32 * 3)
    const scripts = requested.filter((path) => path.endsWith('.js')).map((path) => serve(path) as Buffer)
    expect(scripts.length).toBeGreaterThan(1)
    expect(scripts.filter((script) => script.includes('@compute'))).toEqual([])
  })
})
