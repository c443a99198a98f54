/**
 * Keeps the pages that draw for visits without a network, and sends every page with the headers that the CPU backend's
 * threads need, which many hosts cannot set (docs/headers.md). Weights do not go through it: the library keeps them.
 * `.vitepress/offline.ts` writes the two names below.
 */
const version = 'VERSION'
/** @type {string[]} */
const shell = ['SHELL']

const store = `tweedie-site ${version}`
const isolation = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
}

addEventListener('install', (event) => {
  skipWaiting()
  event.waitUntil(keep())
})
addEventListener('activate', (event) => event.waitUntil(Promise.all([clients.claim(), forgetOthers()])))
addEventListener('fetch', (event) => {
  const { request } = event
  const { origin, pathname } = new URL(request.url)
  if (request.method !== 'GET' || origin !== location.origin || pathname.includes('/weights/')) return
  event.respondWith(answer(request))
})

/** Where there is no room nothing is kept, and everything comes from the network. */
async function keep() {
  await caches
    .open(store)
    .then((cache) => cache.addAll(shell))
    .catch(() => caches.delete(store))
}

async function forgetOthers() {
  for (const name of await caches.keys())
    if (name.startsWith('tweedie-site ') && name !== store) await caches.delete(name)
}

/** Files with a hash in their name never change; of others the newest is taken, and the kept one without a network. */
async function answer(request) {
  const hashed = request.url.includes('/assets/')
  const keptAs = (address) => caches.match(address, { cacheName: store, ignoreSearch: true })
  // Many hosts give a page without its ending, too, and some lead there.
  const kept = async () =>
    (await keptAs(request)) ?? keptAs(new URL(`${new URL(request.url).pathname}.html`, request.url))
  const found = hashed ? await kept() : undefined
  if (found) return isolated(found)
  try {
    const response = await fetch(request)
    if (response.status === 200 && response.type === 'basic') await keepOne(request, response.clone())
    return isolated(response)
  } catch (error) {
    const found = await kept()
    if (found) return isolated(found)
    throw error
  }
}

const keepOne = (request, response) =>
  caches
    .open(store)
    .then((cache) => cache.put(request, response))
    .catch(() => {})

function isolated(response) {
  // A redirect is the browser's own business, and an answer without a body has no headers to add.
  if (response.type === 'opaqueredirect' || response.status === 0 || response.status === 304) return response
  const headers = new Headers(response.headers)
  for (const [name, value] of Object.entries(isolation)) headers.set(name, value)
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}
