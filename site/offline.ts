/** What the site's service worker gives a page: visits without a network, and threads on hosts that set no headers. */
import { withBase } from 'vitepress'
import { spares } from './spares.ts'

/** There is none while the site is written, nor for who asked for little. */
const wanted = (): boolean =>
  !import.meta.env.SSR && import.meta.env.PROD && 'serviceWorker' in globalThis.navigator && !spares()

export function registerServiceWorker(): void {
  // What the browser refuses (private windows of Firefox) the page does without.
  if (wanted()) navigator.serviceWorker.register(withBase('/service-worker.js')).catch(() => {})
}

/** Milliseconds that a first page waits for threads. */
const patience = 3000

/**
 * Resolves when the page may compute. On a host that sets no headers the first page is loaded once more as soon as the
 * service worker is there, which sets them; a page that has waited long enough computes on one thread.
 */
export async function settled(): Promise<void> {
  if (crossOriginIsolated || !wanted() || navigator.serviceWorker.controller) return
  const { serviceWorker } = navigator
  await new Promise<void>((resolve) => {
    const again = (): void => location.reload()
    serviceWorker.addEventListener('controllerchange', again)
    setTimeout(() => {
      serviceWorker.removeEventListener('controllerchange', again)
      resolve()
    }, patience)
  })
}
