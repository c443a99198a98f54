/**
 * What the package exports: at its root what a program needs, and in every entry nothing that an editor
 * shows without a word.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: Record<string, unknown> }

/**
 * The source of every module that package.json exports, from the types it names: `./dist/nn/index.d.ts` is
 * src/nn/index.ts.
 */
const typesOf = (value: unknown): string[] => {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => (key === 'types' ? [inner as string] : typesOf(inner)))
}
const sources = [...new Set(Object.values(manifest.exports).flatMap(typesOf))].map((path) =>
  path.replace('./dist/', 'src/').replace(/\.d\.ts$/, '.ts'),
)

const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
const program = ts.createProgram(
  sources.map((path) => join(root, path)),
  options,
)
const checker = program.getTypeChecker()

/** The names that a source file exports, each with what an editor shows of it. */
function exportsOf(path: string): { name: string; text: string }[] {
  const module = checker.getSymbolAtLocation(program.getSourceFile(join(root, path))!)!
  return checker.getExportsOfModule(module).map((symbol) => {
    const own = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    return { name: symbol.name, text: ts.displayPartsToString(own.getDocumentationComment(checker)) }
  })
}

describe('exports', () => {
  test('there are sources for all entries', () => {
    expect(sources).toEqual(
      expect.arrayContaining([
        'src/index.ts',
        'src/index.node.ts',
        'src/tensor.ts',
        'src/nn/index.ts',
        'src/io/index.node.ts',
      ]),
    )
  })

  test('the root has what a program needs, and no more: 160 names', () => {
    for (const path of ['src/index.ts', 'src/index.node.ts']) expect(exportsOf(path).length).toBeLessThanOrEqual(160)
  })

  test.each(sources)('%s: every export says what it is', (path) => {
    expect(
      exportsOf(path)
        .filter(({ text }) => text === '')
        .map(({ name }) => name),
    ).toEqual([])
  })
})
