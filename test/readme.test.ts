/** The examples in README and docs are programs that compile; the README's also runs. The tests that docs name are there. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import ts from 'typescript'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const firstExample = (text: string): string => /```ts\n([^]*?)```/.exec(text)?.[1] ?? ''
const example = firstExample(readme)
const training = firstExample(readFileSync(join(root, 'docs', 'training.md'), 'utf8'))

test.each([['README', example], ['docs/training.md', training]])('that of %s is short', (_, text) => {
  const lines = text.split('\n').filter((line) => line.trim() !== '').length
  expect([lines > 5, lines <= 15]).toEqual([true, true])
})

test.each([['README', example], ['docs/training.md', training]])('that of %s compiles against the package as its users see it', (_, example) => {
  const file = join(root, 'test', 'readme-example.ts')
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config, ts.sys, root)
  const host = ts.createCompilerHost(options)
  const read = host.readFile.bind(host)
  const exists = host.fileExists.bind(host)
  host.readFile = (name) => (name === file ? example : read(name))
  host.fileExists = (name) => name === file || exists(name)
  const program = ts.createProgram([file], { ...options, paths: { ...options.paths, tweedie: ['./src/index.node.ts'] } }, host)
  const messages = ts.getPreEmitDiagnostics(program).filter((d) => d.file?.fileName === file).map((d) => ts.flattenDiagnosticMessageText(d.messageText, '\n'))
  expect(messages).toEqual([])
})

test('every test that docs/guarantees.md names is there, and every guarantee names one', () => {
  const text = readFileSync(join(root, 'docs', 'guarantees.md'), 'utf8')
  const named = [...text.matchAll(/`(test\/[^`]*\.ts)`/g)].map(([, file]) => file)
  expect(named.length).toBeGreaterThan(40)
  expect(named.filter((file) => !existsSync(join(root, file)))).toEqual([])
  // Tables whose last column says by what a row is tested.
  const rows = text.split('\n\n').filter((block) => /^\|.*\| tested by \|\n/.test(block)).flatMap((block) => block.trim().split('\n').slice(2))
  expect(rows.length).toBeGreaterThan(25)
  expect(rows.filter((row) => !/`test\/[^`]*\.ts`[^|]*\|$/.test(row))).toEqual([])
})

test('that of the README runs, with two steps and one sample in place of fifty and eight', async () => {
  const folder = mkdtempSync(join(root, 'node_modules', '.readme-'))
  try {
    const short = example.replace("respacing: '50'", "respacing: '2'").replace('[0, 1, 2, 3, 4, 5, 6, 7]', '[0]')
    expect(short).not.toBe(example)
    writeFileSync(join(folder, 'example.ts'), short)
    const outfile = join(folder, 'example.mjs')
    await build({
      entryPoints: [join(folder, 'example.ts')], outfile, bundle: true, platform: 'node', format: 'esm', external: ['webgpu'], target: 'node20', logLevel: 'error',
      alias: { tweedie: join(root, 'src/index.node.ts'), '#platform': join(root, 'src/tensor/webgpu/platform.node.ts') },
    })
    const printed = execFileSync(process.execPath, [outfile], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    expect(printed).toMatch(/^1 of 2\n2 of 2\nFloat32Array\(3072\)/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
