/**
 * A training that is killed at random moments, again and again, and goes on each time: processes of their own. In the
 * end every file of its folder must be to the byte that of the same training undisturbed.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { decode } from 'fast-png'
import { afterAll, beforeAll, expect } from 'vitest'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { npy, npz } from './data-fixtures.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * The command line in one file, made before the tests, beside the sources, where it finds its packages and
 * package.json; removed after them.
 */
export function bundledProgram(): string {
  const folder = mkdtempSync(join(root, 'node_modules', '.tweedie-train-'))
  const outfile = join(folder, 'dist', 'cli', 'tweedie.mjs')
  beforeAll(async () => {
    writeFileSync(join(folder, 'package.json'), readFileSync(join(root, 'package.json')))
    await build({
      stdin: {
        contents: "import { main } from './src/cli/main.ts'\nprocess.exitCode = await main(process.argv.slice(2))",
        resolveDir: root,
      },
      bundle: true,
      outfile,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      packages: 'external',
      logLevel: 'error',
      alias: { '#platform': join(root, 'src/platform/index.node.ts') },
    })
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return outfile
}

/** 24 images of 8 x 8 in two classes from four sources. */
export function writeSmallData(file: string): void {
  const pixels = Uint8Array.from(
    { length: 24 * 8 * 8 * 3 },
    (_, i) => 128 + 100 * Math.sin(i * 0.05 * (1 + (Math.floor(i / 192) % 5))),
  )
  writeFileSync(
    file,
    npz({
      images: npy('|u1', [24, 8, 8, 3], pixels),
      labels: npy(
        '|u1',
        [24],
        Array.from({ length: 24 }, (_, i) => i % 2),
      ),
      source: npy(
        '|u1',
        [24],
        Array.from({ length: 24 }, (_, i) => i % 4),
      ),
    }),
  )
}

/** A diffusion model of a few layers of 8 x 8 pixels, always on the same kernels. */
export const smallTraining = (data: string, out: string, ...more: string[]): string[] => [
  'train',
  'diffusion',
  '--data',
  data,
  '--out',
  out,
  '--num-channels',
  '32',
  '--channel-mult',
  '1',
  '--attention-resolutions',
  'none',
  '--num-head-channels',
  '16',
  '--diffusion-steps',
  '20',
  '--batch',
  '4',
  '--backend',
  'cpu',
  '--simd',
  'plain',
  '--threads',
  '2',
  ...more,
]

export interface Kills {
  readonly program: string
  /** Of two folders: that of the undisturbed training, and that of the other. */
  readonly whole: string
  readonly out: string
  /** Of the command that begins or goes on. */
  readonly argv: (out: string) => readonly string[]
  readonly signal: 'SIGKILL' | 'SIGTERM'
  readonly kills: number
}

export async function expectSameAfterKills({ program, whole, out, argv, signal, kills }: Kills): Promise<void> {
  const start = (folder: string): { ended: Promise<number | string | null>; kill(): void } => {
    const child = spawn(process.execPath, [program, ...argv(folder)], { stdio: 'ignore' })
    return {
      ended: new Promise((resolve) => child.on('exit', (code, by) => resolve(code ?? by))),
      kill: () => void child.kill(signal),
    }
  }
  const began = performance.now()
  expect(await start(whole).ended).toBe(0)
  const milliseconds = performance.now() - began
  // A linear congruential generator, so that a failure can be repeated.
  let state = 7
  const random = (): number => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31
  let done = 0
  for (;;) {
    const child = start(out)
    // From before the first step to half of the training; once it was killed so often, it may end.
    const timer = done < kills ? setTimeout(child.kill, milliseconds * (0.05 + 0.4 * random())) : undefined
    const code = await child.ended
    clearTimeout(timer)
    await expectWholeFiles(out)
    if (code !== 0) {
      // 143: what was computed until then is saved. Before the program listens, the signal ends it as it ends any.
      expect(signal === 'SIGKILL' ? ['SIGKILL'] : [143, 'SIGTERM']).toContain(code)
      done++
      continue
    }
    expectSameFiles(out, whole)
    if (done >= kills) return
    rmSync(out, { recursive: true })
  }
}

function expectSameFiles(out: string, whole: string): void {
  expect(readdirSync(out).sort()).toEqual(readdirSync(whole).sort())
  for (const name of readdirSync(whole))
    expect(readFileSync(join(out, name)).equals(readFileSync(join(whole, name))), name).toBe(true)
}

/** No file is half of one, whenever the process was killed. */
async function expectWholeFiles(folder: string): Promise<void> {
  let names: string[] = []
  try {
    names = readdirSync(folder)
  } catch {
    // Killed before it made its folder.
  }
  for (const name of names) {
    const file = join(folder, name)
    if (name.endsWith('.safetensors')) {
      const checkpoint = await openCheckpoint(await openFile(file))
      for (const entry of checkpoint.tensors.values())
        expect(Array.prototype.every.call(await entry.read(), Number.isFinite)).toBe(true)
      await checkpoint.close()
    }
    if (name.endsWith('.png')) decode(readFileSync(file), { checkCrc: true })
    if (name.endsWith('.html')) expect(readFileSync(file, 'utf8')).toMatch(/<\/html>\s*$/)
    if (name.endsWith('.csv')) expect(readFileSync(file, 'utf8')).toMatch(/\n$/)
  }
}
