import { readFileSync } from 'node:fs'

/** The version in the package's package.json: beside src/ and beside dist/ alike. */
export const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version
