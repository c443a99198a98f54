/**
 * Pages in Chromium, a browser of their own each, that is what a user's is: with a profile, with tabs of which one is
 * looked at. Puppeteer starts it, and Playwright, which would pretend that all tabs are looked at where it starts it
 * itself, drives it. No error of a page is overlooked.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium as driver, type BrowserContext, type Locator, type Page } from 'playwright-core'
import puppeteer from 'puppeteer-core'
import { waitForLock } from '../waiting.ts'

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
  /** A folder that keeps what pages store for the next browser that is given it. Default: a new one. */
  readonly profile?: string
}

export interface Opened {
  /** Its first tab; `context.newPage()` is another. */
  readonly page: Page
  readonly context: BrowserContext
  /** The folder of what the pages download. */
  readonly downloads: string
  /**
   * What its tabs and workers complained of so far. A test that provokes errors looks at them and takes them away:
   * `errors.splice(0)`. What is left in the end fails the test.
   */
  readonly errors: string[]
}

/** What drivers switch off, and users have. */
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
  const own = mkdtempSync(join(tmpdir(), 'tweedie-chromium-'))
  const downloads = join(own, 'downloads')
  const launched = await puppeteer.launch({
    executablePath: chromium,
    userDataDir: profile ?? join(own, 'profile'),
    ignoreDefaultArgs: usual,
    args: [
      '--no-sandbox', // CI is root
      '--disable-quic',
      // A page of such a name comes from this machine and is not secure.
      '--host-resolver-rules=MAP *.test 127.0.0.1',
      ...(webgpu
        ? ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan']
        : ['--disable-features=WebGPU']),
    ],
    // SwiftShader is Chromium's own; another driver that the environment names would be taken before it.
    env: { ...process.env, VK_DRIVER_FILES: undefined },
  })
  const ended = new Promise((resolve) => launched.process()!.once('exit', resolve))
  const browser = await driver.connectOverCDP(launched.wsEndpoint(), { noDefaults: true })
  await launched.disconnect()
  const session = await browser.newBrowserCDPSession()
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads })
  const context = browser.contexts()[0]
  const errors: string[] = []
  context.on('weberror', (error) => errors.push(error.error().stack ?? String(error.error())))
  context.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${message.text()} (${message.location().url})`)
  })
  try {
    const page = context.pages()[0]
    await page.setViewportSize(viewports[viewport])
    await page.emulateMedia({ colorScheme })
    const result = await use({ page, context, downloads, errors })
    if (errors.length > 0) throw new Error('The page reported errors.')
    return result
  } catch (error) {
    if (errors.length > 0 && error instanceof Error) error.message += `\nThe page:\n${errors.join('\n')}`
    throw error
  } finally {
    if (browser.isConnected()) await session.send('Browser.close')
    await ended
    // Chromium's helpers outlive it for a moment, and write there.
    await rm(own, { recursive: true, force: true, maxRetries: 20 })
  }
}

/** Puts a tab behind another, as a user does, until `show`: its timers are throttled, and no frame is drawn. */
export async function hide(page: Page): Promise<{ show(): Promise<void> }> {
  const front = await page.context().newPage()
  const see = (hidden: boolean) => page.waitForFunction((hidden) => document.hidden === hidden, hidden, { polling: 50 })
  await front.bringToFront()
  await see(true)
  return {
    async show() {
      await page.bringToFront()
      await front.close()
      await see(false)
    },
  }
}

/** Ends the process that talks to the GPU, as a driver's failure does. Chromium starts another one. */
export async function crashGpu(page: Page): Promise<void> {
  const session = await page.context().browser()!.newBrowserCDPSession()
  // It answers from the process that it ends.
  await session.send('Browser.crashGpuProcess').catch(() => {})
  await session.detach()
}

/** Opens files by their paths: Playwright would send a browser that it did not start their bytes, 19 s for 10 MB. */
export async function openFiles(input: Locator, ...files: readonly string[]): Promise<void> {
  const session = await input.page().context().newCDPSession(input.page())
  await input.evaluate((element) => Object.assign(globalThis, { chosen: element }))
  const { result } = await session.send('Runtime.evaluate', { expression: 'chosen' })
  await session.send('DOM.setFileInputFiles', { files: [...files], objectId: result.objectId })
  await session.detach()
}

/** Bytes of the processes that compute for pages, by what they are. */
export async function processes(page: Page): Promise<{ renderer: number; GPU: number }> {
  const session = await page.context().browser()!.newBrowserCDPSession()
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  await session.detach()
  const bytes = { renderer: 0, GPU: 0 }
  for (const { type, id } of processInfo) {
    if (type !== 'renderer' && type !== 'GPU') continue
    const status = readFileSync(`/proc/${id}/status`, 'utf8')
    for (const [, kib] of status.matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB/gm)) bytes[type] += 1024 * Number(kib)
  }
  return bytes
}
