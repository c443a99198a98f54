import { existsSync } from 'node:fs'

/** This folder: a bench runs as a bundle two folders further down (run.sh), a test as it is. */
export const folder: URL = [new URL('./', import.meta.url), new URL('../../gpu/', import.meta.url)].find((url) =>
  existsSync(new URL('counts.json', url)),
)!
