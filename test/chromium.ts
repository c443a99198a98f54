/** Pages in Chromium that run until they post a result. */
import { inChromium } from './browser/chromium.ts'
import { serve, type Site } from './browser/server.ts'

export { chromium } from './browser/chromium.ts'
export { isolation } from './browser/server.ts'

/** A page that runs `script`, whose module posts `{ ... }` to `/result`; what does not even load is its result, too. */
export const html = (script: string): string => `<!doctype html><title>tweedie</title><script>
const failed = (error) => fetch('/result', { method: 'POST', body: JSON.stringify({ error: String(error) }) })
addEventListener('error', (event) => failed(event.message ?? event.target.src + ' does not load'), true)
addEventListener('unhandledrejection', (event) => failed(event.reason?.stack ?? event.reason))
</script>${script}`

/** Makes a program with a function `run` one that posts what `run` resolves to. */
export const posting = (program: string): string => `${program}
run().catch((error) => ({ error: String(error.stack ?? error) })).then((result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) }))`

/** What the page posts, and the paths that were asked for. */
export async function visit<Result>(site: Site): Promise<{ result: Result; requested: string[] }> {
  let report = (_: Result): void => {}
  const result = new Promise<Result>((resolve) => (report = resolve))
  await using served = await serve({
    ...site,
    answer(request, response, path) {
      if (path !== '/result') return false
      const chunks: Buffer[] = []
      request
        .on('data', (chunk: Buffer) => chunks.push(chunk))
        .on('end', () => {
          response.end()
          report(JSON.parse(Buffer.concat(chunks).toString()) as Result)
        })
      return true
    },
  })
  return await inChromium({}, async ({ page, context, errors }) => {
    const ended = new Promise<never>((_, reject) =>
      context.browser()!.once('disconnected', () => reject(new Error('Chromium ended by itself'))),
    )
    ended.catch(() => {})
    await page.goto(served.origin)
    const posted = await Promise.race([result, ended])
    // The result says what was wrong.
    errors.length = 0
    return { result: posted, requested: served.requested }
  })
}
