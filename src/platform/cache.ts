/** Where a page keeps what was measured: localStorage. */

/** What {@link writeCache} left under `name`, null if nothing. A cache that cannot be read is an empty one. */
export async function readCache(name: string): Promise<string | null> {
  try {
    return globalThis.localStorage?.getItem(`tweedie/${name}`) ?? null
  } catch {
    return null
  }
}

/** Keeps `text` for later runs where the browser allows it. */
export async function writeCache(name: string, text: string): Promise<void> {
  try {
    globalThis.localStorage?.setItem(`tweedie/${name}`, text)
  } catch {
    // Private windows and full quotas refuse: the next run measures again.
  }
}
