/**
 * Reads from the kernels of src/wasm what words each takes: a kernel is a function whose first parameter is of an
 * `@unmanaged` class, and the fields of that class, those it inherits first, are its words in order. So the order is
 * written once, where the kernel reads it, and TypeScript gives the words by name.
 */
import ts from 'typescript'

/** Four bytes each, so that AssemblyScript leaves no gaps; `Words` (src/wasm/words.ts) is a list and comes last. */
const wordTypes = ['usize', 'i32', 'u32', 'f32', 'Words']

/**
 * @typedef {{ name: string, type: string, comment: string }} Field
 * @typedef {{ file: string, base: string | null, fields: Field[] }} Class
 */

/**
 * The text of the module with the layouts of `kernels`' parameters.
 *
 * @param {ReadonlyMap<string, string>} files AssemblyScript by file name
 * @param {readonly string[]} kernels
 */
export function paramsModule(files, kernels) {
  const { classes, parameterOf } = read(files)
  const classOf = new Map(kernels.map((kernel) => [kernel, parameterOf.get(kernel) ?? '']))
  for (const [kernel, name] of classOf) {
    if (!classes.has(name))
      throw new Error(
        `Kernel ${kernel}: its first parameter is of type ${name || '(none)'}, expected an ` +
          '@unmanaged class of this folder.',
      )
  }
  const used = [...new Set(classOf.values())]
  return [
    '/**',
    ' * Made by scripts/kernels.js from the `Params` classes of src/wasm: the words of every ' +
      "kernel's parameters, in order.",
    ' */',
    ...used.flatMap((name) => [`const ${name} = {`, ...fieldsOf(name, classes).flatMap(fieldLines), '} as const', '']),
    'export const layouts = {',
    ...[...classOf].map(([kernel, name]) => `  ${kernel}: ${name},`),
    '} as const',
    '',
  ].join('\n')
}

/** @param {Field} field */
const fieldLines = ({ name, type, comment }) => [
  ...(comment ? [`  ${comment}`] : []),
  `  ${name}: '${type === 'Words' ? 'i32[]' : type}',`,
]

/** @param {ReadonlyMap<string, string>} files */
function read(files) {
  /** @type {Map<string, Class>} */
  const classes = new Map()
  /** Of every function that a file exports. @type {Map<string, string>} */
  const parameterOf = new Map()
  for (const [file, text] of files) {
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
    for (const node of source.statements) {
      if (
        ts.isFunctionDeclaration(node) &&
        node.name &&
        node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
      ) {
        parameterOf.set(node.name.text, node.parameters[0]?.type?.getText(source) ?? '')
      }
      if (!ts.isClassDeclaration(node) || !node.name) continue
      if (!ts.getDecorators(node)?.some(({ expression }) => expression.getText(source) === 'unmanaged')) continue
      const name = node.name.text
      const known = classes.get(name)
      if (known) throw new Error(`${name} is a class of ${known.file} and of ${file}: give one of them another name.`)
      const base = node.heritageClauses?.[0]?.types[0]?.expression.getText(source) ?? null
      classes.set(name, { file, base, fields: node.members.map((member) => fieldOf(member, source, name)) })
    }
  }
  return { classes, parameterOf }
}

/** @param {ts.ClassElement} member @param {ts.SourceFile} source @param {string} owner @returns {Field} */
function fieldOf(member, source, owner) {
  if (!ts.isPropertyDeclaration(member))
    throw new Error(`${owner} in ${source.fileName}: only fields may stand in a class of parameters.`)
  const name = member.name.getText(source)
  const type = member.type?.getText(source) ?? '(none)'
  if (!wordTypes.includes(type))
    throw new Error(
      `${owner}.${name} in ${source.fileName} is of type ${type}, expected one of ${wordTypes.join(', ')}.`,
    )
  const [comment] = ts.getLeadingCommentRanges(source.text, member.pos) ?? []
  const isDoc = comment && source.text.startsWith('/**', comment.pos)
  return { name, type, comment: isDoc ? source.text.slice(comment.pos, comment.end) : '' }
}

/** @param {string} name @param {ReadonlyMap<string, Class>} classes @returns {Field[]} */
function fieldsOf(name, classes) {
  const own = classes.get(name)
  if (!own) throw new Error(`${name} is extended but is no @unmanaged class of this folder.`)
  const fields = [...(own.base ? fieldsOf(own.base, classes) : []), ...own.fields]
  const list = fields.findIndex(({ type }) => type === 'Words')
  if (list >= 0 && list < fields.length - 1) throw new Error(`${name}.${fields[list]?.name}: Words must come last.`)
  return fields
}
