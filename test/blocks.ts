/** The blocks of code in README, docs, model cards and the page of the examples. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

export const read = (path: string): string => readFileSync(join(root, path), 'utf8')

export const pages = [
  'README.md',
  ...['docs', 'examples', 'weights'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `${folder}/${name}`),
  ),
]

export interface Block {
  readonly page: string
  readonly language: string
  /** "ts page" is for a page: it is compiled, and not run in Node. */
  readonly forPage: boolean
  readonly code: string
  /** `README-1`, `training-1`. */
  readonly name: string
}

export const blocks = pages.flatMap((page): Block[] =>
  [...read(page).matchAll(/^```(\w+)(.*)\n([\s\S]*?)^```$/gm)].map(([, language = '', words = '', code = ''], i) => ({
    page,
    language,
    forPage: words.trim() === 'page',
    code,
    name: `${page.replace(/^.*\/|\.md$/g, '')}-${i + 1}`,
  })),
)

/** Those in JavaScript and TypeScript. */
export const programs = blocks.filter(({ language }) => /^([mc]?[jt]s|javascript|typescript)$/.test(language))

/** Whether a program names anything of Node's own, or of React; what does not needs none of their types. */
export const needsTypes = ({ code }: Block): boolean => /\bnode:|\bprocess\.|\bBuffer\b|'react'/.test(code)

/** Files of the programs in TypeScript, by name. */
export const typed = (which: (block: Block) => boolean = () => true): Record<string, string> =>
  Object.fromEntries(
    programs
      .filter((block) => /ts|typescript/.test(block.language) && which(block))
      .map(({ name, code }) => [`${name}.mts`, code]),
  )
