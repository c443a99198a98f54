/**
 * Pages in Chromium, driven by Playwright: a browser of their own each, with what a user's has (a profile, timers that
 * are throttled in hidden tabs), and none of whose errors is overlooked.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium as driver, type BrowserContext, type Page } from 'playwright-core'
import { waitForLock } from '../packed.ts'

/** Its program: the system's, else that of @sparticuz/chromium. Undefined where neither runs: CI fails there. */
export const chromium =
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
    statSync(path, { throwIfNoEntry: false })?.isFile(),
  ) ?? (await unpacked())
if (!chromium && process.env.CI === 'true') throw new Error('CI tests in Chromium, and it is not installed')

async function unpacked(): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const folder = join(tmpdir(), 'tweedie-chromium')
  const lock = await waitForLock(`${folder}.lock`)
  const { TMPDIR } = process.env
  try {
    mkdirSync(folder, { recursive: true })
    process.env.TMPDIR = folder // where it unpacks, and takes what lies there for whole
    const { default: packed } = await import('@sparticuz/chromium')
    const path = await packed.executablePath()
    execFileSync(path, ['--version'], { stdio: 'ignore' }) // it may lack libraries of the system
    return path
  } catch {
    rmSync(folder, { recursive: true, force: true })
    return undefined
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
    await lock.release()
  }
}

/** A phone's and a desk's. */
export const viewports = { phone: { width: 400, height: 800 }, desk: { width: 1400, height: 900 } } as const

export interface BrowserOptions {
  /** Whether there is WebGPU, on SwiftShader where there is no GPU. Default true. */
  readonly webgpu?: boolean
  /** Default 'desk'. */
  readonly viewport?: keyof typeof viewports
  /** Default 'light'. */
  readonly colorScheme?: 'light' | 'dark'
  /** A folder that keeps what pages store for the next browser that is given it. Default: one of its own. */
  readonly profile?: string
}

export interface Opened {
  /** Its first tab; `context.newPage()` is another. */
  readonly page: Page
  readonly context: BrowserContext
  /**
   * What its tabs and workers complained of so far. A test that provokes errors looks at them and takes them away:
   * `errors.splice(0)`. What is left in the end fails the test.
   */
  readonly errors: string[]
}

/** What Playwright would switch off, and users have. */
const usual = [
  '--disable-back-forward-cache',
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
]

/** What `use` makes of a browser. Fails with what the pages complained of, also where `use` fails by itself. */
export async function inChromium<Result>(
  { webgpu = true, viewport = 'desk', colorScheme = 'light', profile }: BrowserOptions,
  use: (opened: Opened) => Promise<Result>,
): Promise<Result> {
  const userData = profile ?? mkdtempSync(join(tmpdir(), 'tweedie-chromium-'))
  const context = await driver.launchPersistentContext(userData, {
    executablePath: chromium,
    ignoreDefaultArgs: usual,
    args: [
      '--no-sandbox', // CI is root
      '--disable-quic',
      ...(webgpu
        ? ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan']
        : ['--disable-features=WebGPU']),
    ],
    // SwiftShader is Chromium's own; another driver that the environment names would be taken before it.
    env: { ...process.env, VK_DRIVER_FILES: undefined },
    viewport: viewports[viewport],
    colorScheme,
  })
  const errors: string[] = []
  context.on('weberror', (error) => errors.push(error.error().stack ?? String(error.error())))
  context.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${message.text()} (${message.location().url})`)
  })
  try {
    const page = context.pages()[0] ?? (await context.newPage())
    const result = await use({ page, context, errors })
    if (errors.length > 0) throw new Error('The page reported errors.')
    return result
  } catch (error) {
    if (errors.length > 0 && error instanceof Error) error.message += `\nThe page:\n${errors.join('\n')}`
    throw error
  } finally {
    await context.close()
    // Chromium's helpers outlive it for a moment, and write there.
    if (!profile) await rm(userData, { recursive: true, force: true, maxRetries: 20 })
  }
}
