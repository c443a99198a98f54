/**
 * The API reference (`npm run docs`, typedoc.jsonc): it is made of the sources without a warning, has a page for every
 * entry of the package, and a link that leads nowhere in a docstring is a failure. Those of the pages are followed in
 * the built site (test/long/site.test.ts).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { entries } from '../packed.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tweedie-reference-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs typedoc with this repository's options and those of `args`. */
function typedoc(...args: string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['node_modules/typedoc/bin/typedoc', ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  return { status, said: stdout + stderr }
}

test('it is made without a warning, with a page for every entry', () => {
  const { status, said } = typedoc('--out', folder)
  expect(status, said).toBe(0)
  // The other entries are these with less in them: a backend, files on disk.
  const rooms = entries.filter((name) => !/\/(node|browser|webgpu|cpu)$/.test(name))
  expect(rooms).toHaveLength(9)
  for (const name of rooms) expect(existsSync(join(folder, `${name}.md`)), name).toBe(true)
  expect(readFileSync(join(folder, 'tweedie.md'), 'utf8')).toContain('A diffusion model that draws and scores')
})

test.each([
  ['As {@link nowhere} has it.', 'Failed to resolve link to "nowhere"'],
  ['See [the page](nowhere.md).', 'The relative path nowhere.md is not a file'],
])('a link that leads nowhere fails: %s', (text, complaint) => {
  writeFileSync(join(folder, 'broken.ts'), `/** ${text} */\nexport const broken = 1\n`)
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ files: ['broken.ts'] }))
  writeFileSync(
    join(folder, 'typedoc.json'),
    JSON.stringify({
      extends: [join(root, 'typedoc.jsonc')],
      tsconfig: 'tsconfig.json',
      entryPoints: ['broken.ts'],
      projectDocuments: [],
      readme: 'none',
      emit: 'none',
    }),
  )
  const { status, said } = typedoc('--options', join(folder, 'typedoc.json'))
  expect(status).not.toBe(0)
  expect(said).toContain(complaint)
})
