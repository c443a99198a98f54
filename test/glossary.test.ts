/**
 * docs/glossary.md has every label of the tests, comments name the literature and nothing outside,
 * docs/formats.md every kind of file.
 */
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { read } from './blocks.ts'

const files = ['src', 'test', 'bench', 'scripts']
  .flatMap((room) =>
    readdirSync(fileURLToPath(new URL(`../${room}`, import.meta.url)), { recursive: true, encoding: 'utf8' }).map(
      (name) => `${room}/${name}`,
    ),
  )
  .filter((name) => /\.[tj]s$/.test(name) && !name.includes('node_modules'))

const matches = (of: readonly string[], pattern: RegExp): string[] =>
  of.flatMap((name) => [...read(name).matchAll(pattern)].map(([, found]) => `${name}: ${found}`))

test('what a comment points to is a paper, a repository or a file in here', () => {
  expect(files.length).toBeGreaterThan(300)
  expect(matches(files, /(\b[Ss]pec(?:ification)?(?: |\n \* )(?!K\b)[A-M]\b[.\d]*)/g)).toEqual([])
  // Pages and notes: those of this repository, read-mes of others, and the page that bench/gpu/measure.ts writes.
  const known = /^(docs|bench|weights)\/|README\.md$|^measure\.md$/
  const there = new Set(
    ['docs', 'bench', 'weights', 'bench/cpu'].flatMap((folder) =>
      readdirSync(fileURLToPath(new URL(`../${folder}`, import.meta.url))),
    ),
  )
  const pointed = matches(
    files.filter((name) => !name.startsWith('test/')),
    /([\w/-]+\.md)\b/g,
  )
  expect(
    pointed.filter((found) => !known.test(found.replace(/.*: /, '')) && !there.has(found.replace(/.*[ /]/, ''))),
  ).toEqual([])
})

test('every label of a test is in the glossary', () => {
  const labels = new Set(
    matches(
      files.filter((name) => name.startsWith('test/')),
      /\b(L\.\d+)\b/g,
    ).map((found) => found.replace(/.*: /, '')),
  )
  expect(labels.size).toBeGreaterThan(5)
  const page = read('docs/glossary.md')
  expect([...labels].filter((label) => !page.includes(`| ${label} |`))).toEqual([])
  expect(page).toContain('| spec K |')
})

test('every kind of record is on the page of formats, and the version of a training state', () => {
  const kinds = new Set(
    matches(
      files.filter((name) => name.startsWith('src/')),
      /program: 'tweedie',\s+kind: '([a-z-]+)'/g,
    ).map((found) => found.replace(/.*: /, '')),
  )
  expect(kinds.size).toBeGreaterThan(5)
  const page = read('docs/formats.md')
  expect([...kinds].filter((kind) => !page.includes(`\`${kind}\``))).toEqual([])
  const [, version] = /const version = (\d+)/.exec(read('src/train/state.ts'))!
  expect(page).toContain(`and is version ${version} when it is next saved`)
})
