/**
 * The goldens, weights and images beside the repository (`../shared`, read-only, third-party in part: never copied in
 * here). A clone without them still tests everything that needs no file; in CI their absence is a failure, so that a
 * green run always means that they were checked.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe } from 'vitest'
import { needsShared } from './shared-reporter.ts'

const root = fileURLToPath(new URL('../../shared/', import.meta.url))

/** Whether `../shared` is beside this clone. */
export const hasShared = existsSync(`${root}weights`) && existsSync(`${root}goldens`)

if (!hasShared && process.env.CI === 'true') {
  throw new Error(`CI needs the goldens and weights in ${root}, and they are not there`)
}

/** The absolute path of a file in `../shared`, say `shared('weights/bccd32-adm.pt')`. */
export const shared = (path: string): string => root + path

/** A `describe` of tests that read `../shared`. Without it they are skipped, and `shared-reporter.ts` says how many. */
export function describeShared(name: string, fn: () => void): void {
  if (hasShared) describe(name, fn)
  else describe.skip(`${name} ${needsShared}`, fn)
}
