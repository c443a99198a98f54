/** The kernels that a page gets, without comments and spaces, are word by word those of the sources. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { hasKernels, shortenKernels } from '../scripts/shaders.js'

const folder = fileURLToPath(new URL('../src/shaders', import.meta.url))
const files = readdirSync(folder).filter((name) => hasKernels(join(folder, name)))

/** Words, runs of operators and other characters; directives with their lines. Comments are none. */
const tokens = (text: string): string[] =>
  text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '').match(/\n\s*#\w+.*|\w+|[-+*/%<>=!&|^~]+|[^\s\w]/g) as string[]
const trimmed = (text: string): string[] => tokens(text).map((token) => token.trim())

test.each(files)('%s', (name) => {
  const text = readFileSync(join(folder, name), 'utf8')
  const short = shortenKernels(text)
  expect(trimmed(short)).toEqual(trimmed(text))
  expect(short.length).toBeLessThanOrEqual(text.length)
})

test('spaces that part words or operators stay, and those at a value that is pasted', () => {
  const short = (piece: string): string =>
    shortenKernels(`const x = wgsl\`${piece}\``).slice('const x = wgsl`'.length, -1)
  expect(short('  let a = b - -c;  // why\n\n  a += -1;')).toBe('  let a=b- -c;\na+= -1;')
  const paste = (name: string): string => `\${${name}}`
  const condition = paste('x > 0')
  expect(short(`#if ${condition}\n  return a & &b; /* or */\n#endif`)).toBe(`#if ${condition}\nreturn a& &b;\n#endif`)
  expect(short(`x = ${paste('y')} + 1`)).toBe(`x= ${paste('y')} +1`)
  expect(() => short(`// for ${paste('n')} lanes`)).toThrow(/A comment of WGSL may hold no/)
})
