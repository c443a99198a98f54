/**
 * README, docs and model cards are read on npm's page and copied from: every block of code in them compiles and runs in
 * an empty folder with the installed package (test/packed.ts), every command has options that exist, every link leads
 * to a file that npm installs. The tests that docs name are there.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { beforeAll, describe, expect, test } from 'vitest'
import { parseArguments } from '../src/cli/arguments.ts'
import { commands } from '../src/cli/main.ts'
import { blocks, needsTypes, pages, programs, read, typed, type Block } from './blocks.ts'
import { encodePng } from '../src/data/index.ts'
import { complaints, resolutions } from './compile.ts'
import { emptyProject, packed } from './packed.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

test('README and docs/training.md show programs, and short ones', () => {
  for (const page of ['README.md', 'docs/training.md']) expect(programs.map((block) => block.page)).toContain(page)
  for (const { name, code } of programs)
    expect(code.split('\n').filter((line) => line.trim() !== '').length, name).toBeLessThanOrEqual(15)
})

describe('programs, in an empty folder with the installed package', () => {
  let folder: string
  let withNode: string
  beforeAll(async () => {
    folder = await emptyProject()
    withNode = await emptyProject({ types: ['@types/node', 'undici-types', '@types/react', 'csstype'] })
    mkdirSync(join(folder, 'faces'))
    for (let i = 0; i < 4; i++) {
      const data = Uint8Array.from({ length: 64 * 64 * 3 }, (_, at) => (at * (i + 3)) % 251)
      writeFileSync(join(folder, `faces/face-${i}.png`), encodePng({ width: 64, height: 64, channels: 3, data }))
    }
  })

  test.each(Object.entries(resolutions))('compile: %s', (_, resolution) => {
    expect(complaints(withNode, typed(), { ...resolution, types: ['node'] })).toEqual([])
    expect(
      complaints(
        folder,
        typed((block) => !needsTypes(block)),
        resolution,
      ),
    ).toEqual([])
  })

  /** Fewer, smaller and shorter than shown; the first of each pair is what it replaces. */
  const smaller: [RegExp, string][] = [
    [/respacing: '?\d+'?/g, "respacing: '2'"],
    [/samples: \[[\d, ]+\]/g, 'samples: [0]'],
    [/\bsteps: [\d_]+/g, 'steps: 2'],
    [/\bsize: 64\b/g, 'size: 16'],
    [/\bmodelChannels: 64\b/g, '$&, imageSize: 16, channelMult: [1, 1], numResBlocks: 1, attentionResolutions: []'],
    [/\b(number|batch): \d+/g, '$1: 1'],
  ]

  // What README shows is JavaScript as it stands; elsewhere types may be told.
  const plain = ({ page, code }: Block): string =>
    page === 'README.md'
      ? code
      : ts.transpileModule(code, {
          compilerOptions: { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
        }).outputText

  test.each(programs.filter(({ forPage }) => !forPage).map((block) => [block.name, block] as const))(
    'runs: %s',
    async (name, block) => {
      writeFileSync(
        join(folder, `${name}.mjs`),
        smaller.reduce((code, [what, by]) => code.replace(what, by), plain(block)),
      )
      // Rejects unless the program ends by itself, with exit code 0.
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [`${name}.mjs`], { cwd: folder })
      expect(stderr).toBe('')
      if (name === 'README-2') {
        expect(stdout).toMatch(/^1 of 2\n2 of 2\nFloat32Array\(1\) \[ 0\.\d+ \]\n$/)
        expect([...readFileSync(join(folder, 'cell-0.png')).subarray(0, 4)]).toEqual([137, 80, 78, 71])
      }
    },
  )
})

describe('commands', () => {
  /** The words of each `tweedie …` in a text; a comment and what is piped on are not it. */
  const calls = (text: string): string[][] =>
    text
      .replace(/"?\$\([^)]*\)"?/g, 'WHAT-ANOTHER-PRINTED')
      .split('\n')
      .flatMap((line) => /^(?:npx )?tweedie ([^#|]*)/.exec(line.trim())?.slice(1) ?? [])
      .map((line) => line.trim().split(/\s+/))
  const shown = [
    ...blocks
      .filter(({ language }) => language === 'sh')
      .flatMap(({ page, code }) => calls(code).map((words) => [page, words] as const)),
    ...commands.flatMap(({ name, examples }) =>
      examples.flatMap((example) => calls(`tweedie ${example}`).map((words) => [`${name} --help`, words] as const)),
    ),
  ]

  test('have options that exist', () => {
    expect(shown.length).toBeGreaterThan(30)
    for (const [where, words] of shown) {
      if (/^--?[hv]/.test(words[0])) continue
      const command = commands.find(({ name }) => `${words.join(' ')} `.startsWith(`${name} `))
      expect(command, `${where}: tweedie ${words.join(' ')}`).toBeDefined()
      expect(() => parseArguments(command!, words.slice(command!.name.split(' ').length)), where).not.toThrow()
      // What lies in the package has a name (bccd32); a path to it is one only in a clone.
      expect(
        words.filter((word) => word.startsWith('weights/')),
        where,
      ).toEqual([])
    }
  })

  test('of npm are scripts of the package', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    const named = blocks
      .filter(({ language }) => language === 'sh')
      .flatMap(({ code }) =>
        [...code.matchAll(/^npm (?:run ([\w:]+)|(start|test)\b)/gm)].map(([, run, short]) => run ?? short),
      )
    expect(named.length).toBeGreaterThan(0)
    expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([])
  })
})

test('every link and image leads to a file that npm installs, by https elsewhere', async () => {
  const installed = join(await packed(), 'node_modules/tweedie')
  const links = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\(([^)\s]+)\)|\b(?:src|href)="([^"]+)"/g)].map(([, link, attribute]) => ({
      page,
      link: link ?? attribute,
    })),
  )
  expect(links.length).toBeGreaterThan(20)
  const lost = links.filter(
    ({ page, link }) =>
      !/^https:|^#/.test(link) && !existsSync(join(installed, dirname(page), link.replace(/#.*/, ''))),
  )
  expect(lost).toEqual([])
  expect(existsSync(join(installed, 'README.md'))).toBe(true)
})

test('every file that ARCHITECTURE.md and CONTRIBUTING.md name is there', () => {
  for (const page of ['ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    const text = read(page)
    // In the table of rooms a file is named within its room.
    const rows = [...text.replace(/^## Dep[\s\S]*/m, '').matchAll(/^\| `(\w+)` \|[^|]*\|([^|]*)\|$/gm)]
    const named = [
      ...rows.flatMap(([, room, files]) =>
        [...files.matchAll(/`([\w./-]+\.ts)`/g)].map(([, file]) => `src/${room}/${file}`),
      ),
      ...[
        ...rows.reduce((rest, [row]) => rest.replace(row, ''), text).matchAll(/`([\w.-]+\/[\w./-]*)`|\]\(([^)#:]+)\)/g),
      ].map(([, path, link]) => path ?? link),
    ]
    expect(named.length).toBeGreaterThan(15)
    expect(
      named.filter(
        (path) => !/NAME|^\.\.\//.test(path) && ![root, join(root, 'src')].some((from) => existsSync(join(from, path))),
      ),
    ).toEqual([])
    const rooms = readdirSync(join(root, 'src'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
    if (page === 'ARCHITECTURE.md') expect(rows.map(([, room]) => room).sort()).toEqual(rooms.sort())
  }
})

test('every test that docs/guarantees.md names is there, and every guarantee names one', () => {
  const text = read('docs/guarantees.md')
  const named = [...text.matchAll(/`(test\/[^`]*\.ts)`/g)].map(([, file]) => file)
  expect(named.length).toBeGreaterThan(40)
  expect(named.filter((file) => !existsSync(join(root, file)))).toEqual([])
  // Tables whose last column says by what a row is tested.
  const rows = text
    .split('\n\n')
    .filter((block) => /^\|.*\| tested by \|\n/.test(block))
    .flatMap((block) => block.trim().split('\n').slice(2))
  expect(rows.length).toBeGreaterThan(25)
  expect(rows.filter((row) => !/`test\/[^`]*\.ts`[^|]*\|$/.test(row))).toEqual([])
})
