/**
 * Cross-origin isolation on a host that sets no headers, such as GitHub Pages: a service worker that adds them. Copy
 * this file beside the page and load it first, as a classic script:
 *
 *     <script src="isolation-worker.js"></script>
 *
 * The first visit registers it and loads the page once more; from then on the page is isolated, and the CPU backend has
 * threads. Where there are no service workers nothing happens: one thread. See docs/headers.md.
 */
const isolation = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
}
/** Only these say what they are isolated from; what they load needs nothing, and is not touched. */
const scopes = ['document', 'iframe', 'worker', 'sharedworker']

async function isolated(request) {
  const response = await fetch(request)
  // A redirect is the browser's own business.
  if (response.type === 'opaqueredirect') return response
  const headers = new Headers(response.headers)
  for (const [name, value] of Object.entries(isolation)) headers.set(name, value)
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}

if (typeof document === 'undefined') {
  addEventListener('install', () => skipWaiting())
  addEventListener('activate', (event) => event.waitUntil(clients.claim()))
  addEventListener('fetch', (event) => {
    const { destination, url } = event.request
    if (scopes.includes(destination) && new URL(url).origin === location.origin)
      event.respondWith(isolated(event.request))
  })
} else if (!crossOriginIsolated && navigator.serviceWorker && !navigator.serviceWorker.controller) {
  // A page that is not isolated although the worker serves it cannot be: loading it again and again would not help.
  navigator.serviceWorker.addEventListener('controllerchange', () => location.reload(), { once: true })
  navigator.serviceWorker.register(document.currentScript.src).catch(console.error)
}
