/**
 * No line of the sources is wider than 120 columns. The formatter (`npm run format`) breaks code; comments and strings
 * are broken by hand. Wider may be a line of a text, which is WGSL or HTML in a template, and a regular expression: a
 * break would change them.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const columns = 120
const folders = [
  ...['bench', 'bin', 'examples', 'scripts', 'src', 'test'],
  // Not the site's node_modules: a link there leads back here, and `readdirSync` would follow it.
  ...['.vitepress', 'home', 'playground'].map((name) => join('site', name)),
]
const sources = [...folders.map((folder) => [folder, true] as const), ['site', false] as const]
  .flatMap(([folder, recursive]) =>
    readdirSync(join(root, folder), { recursive }).map((name) => join(folder, String(name))),
  )
  .filter((path) => /\.(ts|js)$/.test(path) && !/node_modules|generated|fixtures|\.vitepress.cache/.test(path))

/** Whether the character at `position` is part of a template or of a regular expression. */
function isText(file: ts.SourceFile, position: number): boolean {
  let node: ts.Node = file
  for (;;) {
    if (ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node)) return true
    if (ts.isRegularExpressionLiteral(node)) return true
    const inner = node.getChildren(file).find((child) => child.getStart(file) <= position && position < child.end)
    if (!inner) return false
    node = inner
  }
}

test.each(sources)('%s', (path) => {
  const text = readFileSync(join(root, path), 'utf8')
  const lines = text.split('\n')
  if (lines.every(({ length }) => length <= columns)) return
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest)
  const wide = lines.flatMap(({ length }, line) => {
    if (length <= columns || isText(file, file.getPositionOfLineAndCharacter(line, columns - 1))) return []
    return [`${path}:${line + 1} has ${length} columns`]
  })
  expect(wide).toEqual([])
})
