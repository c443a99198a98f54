/**
 * The programs of users, compiled by TypeScript as it is for them: in a folder of theirs (test/packed.ts), with only
 * the types they installed, strict, and with every declaration of the package checked too (`skipLibCheck` off).
 */
import { writeFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import ts from 'typescript'

/** `compilerOptions` of a tsconfig.json, for each way in which TypeScript finds a package's types. */
export const resolutions = {
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
  node16: { module: 'node16' },
  nodenext: { module: 'nodenext' },
} as const

const parsed = new Map<string, ts.SourceFile>()

/** What TypeScript has against the programs `files`, by name, in `folder`, where they are written: one line each. */
export function complaints(folder: string, files: Readonly<Record<string, string>>, compilerOptions: object): string[] {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const json = { target: 'es2022', strict: true, skipLibCheck: false, noEmit: true, types: [], ...compilerOptions }
  const { options, errors } = ts.convertCompilerOptionsFromJson(json, folder)
  const host = ts.createCompilerHost(options)
  host.getCurrentDirectory = () => folder
  // TypeScript's own libraries are most of what there is to parse, and the same in every program.
  const getSourceFile = host.getSourceFile.bind(host)
  host.getSourceFile = (name, how, ...rest) => {
    if (!/[\\/]typescript[\\/]lib[\\/]lib\./.test(name)) return getSourceFile(name, how, ...rest)
    const file = parsed.get(name) ?? getSourceFile(name, how, ...rest)
    if (file) parsed.set(name, file)
    return file
  }
  const program = ts.createProgram(
    Object.keys(files).map((name) => join(folder, name)),
    options,
    host,
  )
  // Where the package contradicts the types of others, it is said of both.
  const ours = program
    .getSourceFiles()
    .filter(
      (file) =>
        !program.isSourceFileDefaultLibrary(file) &&
        !/node_modules\/(@types|@webgpu|undici-types)\//.test(file.fileName),
    )
  const found = [
    ...errors,
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...ours.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]),
  ]
  return found.map(({ file, start = 0, messageText }) => {
    const where = file
      ? `${file.fileName.replaceAll('/', sep).replace(folder + sep, '')}:` +
        `${file.getLineAndCharacterOfPosition(start).line + 1}: `
      : ''
    return where + ts.flattenDiagnosticMessageText(messageText, '\n')
  })
}
