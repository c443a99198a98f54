/** docs/errors.md against the code: a section for every code, in the order of the type, and messages that exist. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { read } from './blocks.ts'

const codes = [
  ...read('src/errors.ts')
    .split('\nexport class')[0]
    .matchAll(/^ {2}\| '([\w-]+)'$/gm),
].map(([, code]) => code)
const [, ...sections] = read('docs/errors.md').split(/^## /m)

test('every code has its section, in the order of the type', () => {
  expect(codes.length).toBeGreaterThan(10)
  expect(sections.map((section) => section.split('\n')[0])).toEqual(codes)
})

test('every code has messages, and every message is one of the sources', () => {
  const folder = fileURLToPath(new URL('../src', import.meta.url))
  // What is written in pieces is joined; where a value stands, the page has …, and its pieces are looked for.
  const sources = readdirSync(folder, { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => read(join('src', name)))
    .join('\n')
    .replace(/(['"`]) \+\s*['"`]/g, '')
  for (const section of sections) {
    const messages = [...section.matchAll(/(?:^> .*\n)+/gm)].map(([lines]) =>
      lines.replace(/^> /gm, '').trim().replace(/\n/g, ' '),
    )
    expect(messages.length, section.split('\n')[0]).toBeGreaterThan(0)
    const pieces = messages.flatMap((message) => message.split('…')).filter((piece) => piece.trim().length > 4)
    expect(pieces.filter((piece) => !sources.includes(piece))).toEqual([])
  }
})
