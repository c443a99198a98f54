/**
 * Kernels as a page gets them: WGSL without comments, indentation and the spaces that part no two words or operators.
 * Lines stay lines, for directives (`#if`) and for the messages of compilers.
 */
import ts from 'typescript'

/** Whether a source file, or what was compiled from it, holds kernels. @param {string} path */
export const hasKernels = (path) => /[/\\]shaders[/\\](?!template\.)[\w-]+\.[tj]s$/.test(path)

/** A module of `src/shaders` with its templates shortened. @param {string} text */
export function shortenKernels(text) {
  const file = ts.createSourceFile('shader.ts', text, ts.ScriptTarget.Latest, true)
  /** @type {string[]} */
  const pieces = []
  let done = 0
  /** @param {ts.Node} node */
  const visit = (node) => {
    const { kind } = node
    const open = kind === ts.SyntaxKind.TemplateHead || kind === ts.SyntaxKind.TemplateMiddle
    if (open || kind === ts.SyntaxKind.TemplateTail || kind === ts.SyntaxKind.NoSubstitutionTemplateLiteral) {
      const [start, end] = [node.getStart(file) + 1, node.end - (open ? 2 : 1)]
      pieces.push(text.slice(done, start), shortened(text.slice(start, end)))
      done = end
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return pieces.join('') + text.slice(done)
}

/** What is pasted before or after a piece is not known here: the spaces at its ends stay. @param {string} piece */
function shortened(piece) {
  const bare = piece.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, (comment, at) => {
    if (comment.endsWith('*/') || at + comment.length < piece.length) return ''
    throw new Error(`A comment of WGSL may hold no \${ }: "${comment}"`)
  })
  return bare
    .replace(/[ \t]+\n/g, '\n')
    .replace(/\n\s+/g, '\n')
    .split('\n')
    .map((line) => (line.startsWith('#') ? line : line.replace(/(\S) (?=(\S))/g, spaced)))
    .join('\n')
}

/** @param {string} pair @param {string} before @param {string} after */
function spaced(pair, before, after) {
  const both = (/** @type {RegExp} */ kind) => kind.test(before) && kind.test(after)
  return both(/\w/) || both(/[-+*/%<>=!&|^~]/) ? pair : before
}
