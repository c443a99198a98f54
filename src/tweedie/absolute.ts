/** A URL as the page, or the worker, means it; as it is where there is neither, as in Node, and where it is none. */
export function absolute(url: string | URL): string {
  const { document, location } = globalThis as { document?: { baseURI: string }; location?: { href: string } }
  try {
    return new URL(url, document?.baseURI ?? location?.href).href
  } catch {
    return String(url)
  }
}
