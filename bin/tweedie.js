#!/usr/bin/env node
/**
 * The command line's launcher, committed, so that `npx tweedie` works in a clone before anything is built. It builds what
 * is not built, starts itself again with the Vulkan driver's environment where one is needed, and calls the program.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, installed, isClone, requireNode, root, run, stop } from '../scripts/steps.js'
import { vulkanEnvironment } from '../scripts/vulkan.js'

requireNode()
if (isClone) {
  if (!installed()) stop(`tweedie's dependencies are not installed, or not those of the lockfile: run npm ci in ${root}`)
  await build()
}
const program = new URL('../dist/cli/main.js', import.meta.url)
if (!existsSync(program)) stop(`${fileURLToPath(program)} is missing: install tweedie again.`)

const env = vulkanEnvironment()
const args = process.argv.slice(2)
if (Object.keys(env).length > 0) {
  process.exitCode = await run(process.execPath, [...process.execArgv, join(root, 'bin/tweedie.js'), ...args], { env })
} else {
  const { main } = await import(program.href)
  process.exitCode = await main(args)
}
