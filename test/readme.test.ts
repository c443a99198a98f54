/** The README's example is a program that compiles and runs. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import ts from 'typescript'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const example = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? ''

test('it is short', () => {
  expect(example.trim().split('\n').filter((line) => line.trim() !== '').length).toBeLessThanOrEqual(15)
})

test('it compiles against the package as its users see it', () => {
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

test('it runs, with two steps and one sample in place of fifty and eight', async () => {
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
