/**
 * A real compiler for a GPU, without the GPU: Mesa's RADV on its null device, reached through a driver of some lines
 * (null-icd.c) that Dawn can make a device of. Needs Linux, gcc and RADV (Debian: gcc, libc6-dev,
 * mesa-vulkan-drivers).
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../../src/errors.ts'
import { sharesOf, type Shares } from './assembly.ts'
import { folder } from './folder.ts'
import { readKernel } from './wgsl.ts'

/** GPUs to compile for: RDNA 3 (RX 7900), RDNA 2 (RX 6800), GCN 5 (Vega 64), RDNA 4 (RX 9060). */
export const families = ['navi31', 'navi21', 'vega10', 'gfx1200'] as const
export type Family = (typeof families)[number]

/** What RADV says of a kernel it compiled. */
export interface Compiled {
  readonly instructions: number
  readonly vgprs: number
  readonly spills: number
  readonly scratch: number
  /** Bytes of workgroup memory. */
  readonly lds: number
  /** Subgroups that fit on a SIMD at once. */
  readonly waves: number
  readonly fmaShare: Shares
  readonly assembly: string
}

/** Why it cannot run here; null where it can. */
export function missing(): string | null {
  if (process.platform !== 'linux') return 'RADV is a driver of Linux'
  const drivers = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d'].filter((path) => existsSync(path))
  if (!drivers.some((path) => readdirSync(path).some((name) => /^radeon_icd.*json$/.test(name))))
    return 'RADV is not installed (Debian: mesa-vulkan-drivers)'
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' })
    return null
  } catch {
    return 'gcc is not installed'
  }
}

/** The null driver's description for the Vulkan loader, made once. */
function driver(): string {
  const source = fileURLToPath(new URL('null-icd.c', folder))
  const name = `null-icd-${createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12)}`
  const cache = fileURLToPath(new URL('../../node_modules/.cache/tweedie/', folder))
  const file = join(cache, `${name}.json`)
  if (existsSync(file)) return file
  mkdirSync(cache, { recursive: true })
  const fresh = mkdtempSync(join(cache, `${name}-`))
  try {
    execFileSync('gcc', ['-shared', '-fPIC', '-O1', '-o', join(fresh, 'driver.so'), source, '-ldl'], { stdio: 'pipe' })
    renameSync(join(fresh, 'driver.so'), join(cache, `${name}.so`))
    const description = {
      file_format_version: '1.0.0',
      ICD: { library_path: join(cache, `${name}.so`), api_version: '1.3.0' },
    }
    writeFileSync(join(fresh, 'driver.json'), JSON.stringify(description))
    renameSync(join(fresh, 'driver.json'), file)
  } finally {
    rmSync(fresh, { recursive: true })
  }
  return file
}

/** Compiles kernels (WGSL by name), entry point `main`; throws for one that does not compile. */
export function compile(
  kernels: ReadonlyMap<string, string>,
  family: Family,
): { readonly driver: string; readonly compiled: Map<string, Compiled> } {
  const work = mkdtempSync(join(tmpdir(), 'tweedie-radv-'))
  try {
    const list = join(work, 'kernels.json')
    writeFileSync(list, JSON.stringify([...kernels]))
    const { stderr, error } = spawnSync(process.execPath, [fileURLToPath(new URL('radv-compile.js', folder)), list], {
      env: {
        ...process.env,
        VK_DRIVER_FILES: driver(),
        RADV_FORCE_FAMILY: family,
        RADV_DEBUG: 'shaderstats,asm,nocache',
      },
      encoding: 'utf8',
      maxBuffer: 2 ** 30,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    if (!stderr?.includes('@@END'))
      throw new Error(`RADV's null device gave no answer: ${error ? messageOf(error) : stderr.slice(-2000)}`)
    const parts = stderr.split('@@KERNEL ').slice(1)
    return {
      driver: /@@DRIVER (.*)/.exec(stderr)![1],
      compiled: new Map([...kernels].map(([name, code], i) => [name, reportOf(name, code, parts[i])])),
    }
  } finally {
    rmSync(work, { recursive: true })
  }
}

function reportOf(name: string, code: string, said: string): Compiled {
  const refused = /@@REFUSED (.*)/.exec(said)
  if (refused) throw new Error(`${name} does not compile: ${refused[1]}`)
  const figure = (what: string): number => {
    const found = new RegExp(`^${what}: (\\d+)`, 'm').exec(said)
    if (!found) throw new Error(`${name}: RADV does not say its ${what}`)
    return Number(found[1])
  }
  return {
    instructions: figure('Instructions'),
    vgprs: figure('VGPRs'),
    spills: figure('Spilled VGPRs') + figure('Spilled SGPRs'),
    scratch: figure('Scratch size'),
    lds: figure('LDS size'),
    waves: figure('Subgroups per SIMD'),
    fmaShare: sharesOf(said, readKernel(code).loops),
    assembly: said,
  }
}
