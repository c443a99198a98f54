/**
 * Firefox and WebKit, as Debian has them, as far as smoke tests need them: a page is opened, and expressions are
 * evaluated in it. Puppeteer drives Firefox. WebKit's own driver speaks WebDriver and needs a display, of which Xvfb is
 * one that nobody sees.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import puppeteer from 'puppeteer-core'

export interface OtherBrowser extends AsyncDisposable {
  /** Opens a page in its only tab, and waits until it has loaded. */
  goto(url: string): Promise<void>
  reload(): Promise<void>
  /** What an expression is in the page: JSON. A promise is waited for. */
  evaluate<Result>(expression: string): Promise<Result>
  /** What its page complained of; null where the driver does not tell. */
  readonly errors: readonly string[] | null
}

/** By name; undefined where it is not installed: then the tests are counted as skipped, and CI fails. */
export const others: Readonly<Record<string, (() => Promise<OtherBrowser>) | undefined>> = {
  Firefox: existsSync('/usr/bin/firefox-esr') ? firefox : undefined,
  WebKit: ['/usr/bin/WebKitWebDriver', '/usr/bin/Xvfb'].every(existsSync) ? webkit : undefined,
}
for (const [name, open] of Object.entries(others))
  if (!open && process.env.CI === 'true') throw new Error(`CI tests in ${name}, and it is not installed`)

async function firefox(): Promise<OtherBrowser> {
  // The defaults, 30 s, are too few on two cores that do other things, too.
  const timeout = 240_000
  const browser = await puppeteer.launch({ browser: 'firefox', executablePath: '/usr/bin/firefox-esr', timeout })
  const page = await browser.newPage()
  page.setDefaultNavigationTimeout(timeout)
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  return {
    goto: async (url) => void (await page.goto(url)),
    reload: async () => void (await page.reload()),
    evaluate: async <Result>(expression: string) => (await page.evaluate(expression)) as Result,
    errors,
    [Symbol.asyncDispose]: () => browser.close(),
  }
}

async function webkit(): Promise<OtherBrowser> {
  // Xvfb takes a free display and writes its number there.
  const display = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1400x1000x24'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  const number = await new Promise<string>((resolve, reject) => {
    const number = display.stdio[3] as Readable
    number.once('data', (text: Buffer) => resolve(text.toString().trim()))
    display.once('exit', (code) => reject(new Error(`Xvfb ended with ${code}`)))
  })
  const port = await freePort()
  const driver = spawn('WebKitWebDriver', [`--port=${port}`], {
    stdio: 'ignore',
    env: { ...process.env, DISPLAY: `:${number}`, GDK_BACKEND: 'x11' },
  })
  const ask = async (method: string, path: string, body?: object): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) })
    const { value } = (await response.json()) as { value: { error?: string; message?: string } | null }
    if (!response.ok) throw new Error(`WebKit: ${value?.error}: ${value?.message}`)
    return value
  }
  const stop = (): void => {
    driver.kill()
    display.kill()
  }
  try {
    while (!(await ask('GET', '/status').catch(() => null))) await wait(50)
    const { sessionId } = (await ask('POST', '/session', { capabilities: { alwaysMatch: {} } })) as {
      sessionId: string
    }
    const session = `/session/${sessionId}`
    // A script may take as long as a test.
    await ask('POST', `${session}/timeouts`, { script: 600_000 })
    return {
      goto: async (url) => void (await ask('POST', `${session}/url`, { url })),
      reload: async () => void (await ask('POST', `${session}/refresh`, {})),
      evaluate: async <Result>(expression: string) =>
        (await ask('POST', `${session}/execute/async`, {
          script: `Promise.resolve((${expression})).then(arguments[0])`,
          args: [],
        })) as Result,
      errors: null,
      async [Symbol.asyncDispose]() {
        await ask('DELETE', session).finally(stop)
      },
    }
  } catch (error) {
    stop()
    throw error
  }
}

/** One that was free a moment ago: the driver takes no 0. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
