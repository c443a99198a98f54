import { writeFileAtomic } from '../io/index.node.ts'

/** Writes a text to `path` whole or not at all, as {@link writeFileAtomic} does. */
export const writeText = (path: string, text: string, signal?: AbortSignal): Promise<void> =>
  writeFileAtomic(path, [new TextEncoder().encode(text)], signal ? { signal } : {})
