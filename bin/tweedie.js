#!/usr/bin/env node
/**
 * The command line's launcher, committed, so that `npx tweedie` works in a clone before anything is built: it builds
 * what is not built and calls the program.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build, installed, isClone, outliveReaders, requireNode, root, stop } from '../scripts/steps.js'

requireNode()
if (isClone) {
  if (!installed())
    stop(`tweedie's dependencies are not installed, or not those of the lockfile: run npm ci in ${root}`)
  await build()
}
const program = new URL('../dist/cli/main.js', import.meta.url)
if (!existsSync(program)) stop(`${fileURLToPath(program)} is missing: install tweedie again.`)
outliveReaders()
const { main } = await import(program.href)
process.exitCode = await main(process.argv.slice(2))
