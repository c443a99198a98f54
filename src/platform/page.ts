/**
 * A page's coming and going. A worker is not told of it by itself: its page may send it the events' names, to be
 * dispatched there. In Node there is no page.
 */

/**
 * Calls `listener` when the page goes, for good or into the browser's back/forward cache, with a promise of its coming
 * back. Returns what ends the listening.
 */
export function onPageHide(listener: (shown: Promise<void>) => void): () => void {
  if (typeof addEventListener !== 'function') return () => {}
  const hide = (): void =>
    listener(new Promise((resolve) => addEventListener('pageshow', () => resolve(), { once: true })))
  addEventListener('pagehide', hide)
  return () => removeEventListener('pagehide', hide)
}
