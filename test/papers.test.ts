/** docs/papers.md against the code: its functions are exported, its options exist, its tests are there. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { commands } from '../src/cli/main.ts'
import * as diffusion from '../src/diffusion/index.ts'
import * as metrics from '../src/metrics/index.ts'
import * as nn from '../src/nn/index.ts'
import * as train from '../src/train/index.ts'
import { read } from './blocks.ts'

const text = read('docs/papers.md')
const rows = text
  .split('\n')
  .filter((line) => /^\|.*\| `test\//.test(line))
  .map((line) => line.split('|').map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code)))

test('every row has a function, and a test that is there', () => {
  expect(rows.length).toBeGreaterThan(30)
  const exported = { ...diffusion, ...metrics, ...nn, ...train }
  const functions = rows.map((cells) => cells[3])
  expect(functions.filter((names) => names.length === 0)).toEqual([])
  expect(functions.flat().filter((name) => !Object.hasOwn(exported, name))).toEqual([])
  const files = [...text.matchAll(/`(test\/[^`]+)`/g)].map(([, file]) => file)
  expect(files.filter((file) => !existsSync(fileURLToPath(new URL(`../${file}`, import.meta.url))))).toEqual([])
})

test('every command has the options that the page names', () => {
  for (const line of rows.flatMap((cells) => cells[4])) {
    const command = commands.find(({ name }) => `${line} `.startsWith(`${name} `))
    expect(command, line).toBeDefined()
    for (const [, option] of line.matchAll(/--([\w-]+)/g))
      expect(Object.keys(command!.options), `${line}: --${option}`).toContain(option)
  }
})
