/** The order in which the pages are read. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

interface Group {
  readonly text: string
  readonly items: { readonly text: string; readonly link: string }[]
}

const pages: Readonly<Record<string, readonly [text: string, page: string][]>> = {
  'Where it runs': [
    ['Node', 'docs/node'],
    ['A page', 'docs/browser'],
    ['Bundlers and Next', 'docs/bundlers'],
    ['Deno and Bun', 'docs/runtimes'],
    ['A client for pages', 'docs/client'],
    ['Headers', 'docs/headers'],
    ['Content Security Policy', 'docs/csp'],
    ['Caching', 'docs/caching'],
    ['Lost devices and memory', 'docs/life'],
    ['Limits', 'docs/limits'],
  ],
  'Your own': [
    ['Images', 'docs/training'],
    ['Guidance', 'docs/guidance'],
    ['Kernels', 'docs/kernels'],
  ],
  'What comes of it': [
    ['Minorities, drawn', 'docs/minorities'],
    ['Measuring samples', 'docs/evaluation'],
    ['From the papers to the code', 'docs/papers'],
    ["The scripts' commands", 'docs/scripts'],
    ['What is guaranteed', 'docs/guarantees'],
  ],
  Reference: [
    ['API', 'api/'],
    ['Errors', 'docs/errors'],
    ['Model files', 'docs/configuration'],
    ['Formats', 'docs/formats'],
    ['Files of strangers', 'docs/trust'],
    ['Glossary', 'docs/glossary'],
    ['Examples', 'examples/'],
    ['Changes', 'CHANGELOG'],
  ],
  'The shipped models': [
    ['Diffusion', 'weights/bccd32-adm'],
    ['Minority classifier', 'weights/bccd32-minority'],
    ['Features', 'weights/bccd32-features'],
    ['Marginal', 'weights/bccd32-marginal'],
  ],
  'How it is built': [
    ['Architecture', 'ARCHITECTURE'],
    ['Changing it', 'CONTRIBUTING'],
    ['Benches', 'bench/'],
  ],
}

/** A page that is still being written has no row. */
const written = (page: string): boolean =>
  page.endsWith('/') || existsSync(fileURLToPath(new URL(`../../${page}.md`, import.meta.url)))

export const sidebar: Group[] = Object.entries(pages).map(([text, items]) => ({
  text,
  items: items.filter(([, page]) => written(page)).map(([name, page]) => ({ text: name, link: `/${page}` })),
}))
