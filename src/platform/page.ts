/** A page's coming and going. In a worker and in Node there is no page: nothing is ever told. */

/**
 * Calls `listener` when the page goes, for good or into the browser's back/forward cache, with a promise of its coming
 * back. Returns what ends the listening.
 */
export function onPageHide(listener: (shown: Promise<void>) => void): () => void {
  if (typeof document === 'undefined' || typeof addEventListener !== 'function') return () => {}
  const hide = (): void =>
    listener(new Promise((resolve) => addEventListener('pageshow', () => resolve(), { once: true })))
  addEventListener('pagehide', hide)
  return () => removeEventListener('pagehide', hide)
}
