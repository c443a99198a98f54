/**
 * A process that used the CPU backend ends by itself, with what it printed and no error, however it left its devices;
 * and disposed devices give their memory back.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tweedie-process-'))
const program = join(folder, 'program.mjs')

/** What the process does, by its first argument. */
const source = `
import { Device, silu, square } from 'tweedie'

const device = await Device.request({ backend: 'cpu', threads: 3 })
const x = device.tensor(Float32Array.from({ length: 100000 }, (_, i) => i % 7))
const say = async (y) => console.log((await y.read())[6])
const ways = {
  async disposed() { await say(square(x)); device.dispose() },
  async 'never disposed'() { await say(square(x)) },
  async 'with work that nobody waits for'() { await say(square(x)); for (let i = 0; i < 300; i++) square(x) },
  async 'after a pause'() { await new Promise((resolve) => setTimeout(resolve, 300)); await say(square(x)) },
  async 'two devices'() {
    const other = await Device.request({ backend: 'cpu', threads: 2 })
    await say(square(x))
    await other.flush()
  },
  async 'devices that were disposed of, still held'() {
    const held = []
    const megabytes = async () => {
      const other = await Device.request({ backend: 'cpu', threads: 2 })
      await other.tensor(new Float32Array(2 ** 25)).read()
      other.dispose()
      held.push(other)
      // A thread's memory is free when it has ended.
      for (let i = 0; i < 5; i++) await new Promise((resolve) => setTimeout(resolve, 100)), gc()
      return process.memoryUsage.rss() / 2 ** 20
    }
    const first = await megabytes()
    for (let i = 0; i < 2; i++) await megabytes()
    const growth = await megabytes() - first
    console.log(growth < 128 ? 'free' : growth + ' MiB more after three devices of 128')
  },
  async 'without a worker'() {
    device.dispose()
    const here = await Device.request({ backend: 'cpu', threads: 0 })
    const y = here.tensor(Float32Array.from({ length: 100000 }, (_, i) => i % 7))
    await say(square(y))
    for (let i = 0; i < 300; i++) square(y)
  },
  async 'an error of its own'() { await say(square(x)); throw new Error('mine') },
}
await ways[process.argv[2]]()
`

beforeAll(async () => {
  await build({
    stdin: { contents: source, resolveDir: root, loader: 'js' },
    bundle: true,
    outfile: program,
    format: 'esm',
    platform: 'node',
    // What the package is compiled to: Node 20 knows no `using`.
    target: 'es2022',
    logLevel: 'error',
    external: ['webgpu'],
    alias: { tweedie: join(root, 'src/tensor.ts'), '#platform': join(root, 'src/platform/index.node.ts') },
  })
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface End {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function run(way: string): Promise<End> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--expose-gc', program, way], { stdio: ['ignore', 'pipe', 'pipe'] })
    // A process that hangs is ended, and has no code then.
    const patience = setTimeout(() => child.kill('SIGKILL'), 60_000)
    const text = { out: '', err: '' }
    child.stdout.on('data', (chunk) => (text.out += chunk))
    child.stderr.on('data', (chunk) => (text.err += chunk))
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(patience)
      resolve({ code, ...text })
    })
  })
}

for (const way of [
  'disposed',
  'never disposed',
  'with work that nobody waits for',
  'after a pause',
  'two devices',
  'without a worker',
]) {
  test(way, async () => expect(await run(way)).toEqual({ code: 0, out: '36\n', err: '' }))
}

test('devices that were disposed of, still held, give their memory back', async () => {
  expect(await run('devices that were disposed of, still held')).toEqual({ code: 0, out: 'free\n', err: '' })
})

test('an error of its own', async () => {
  const { code, out, err } = await run('an error of its own')
  expect({ code, out }).toEqual({ code: 1, out: '36\n' })
  expect(err).toContain('Error: mine')
})
