/**
 * The site: pages of its own in `site/`, and those that the package ships (`docs/`, `weights/`, `examples/`) where they
 * lie, so that a link between two of them leads there on GitHub, on npm and here.
 */
import { cpSync, existsSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitepress'
import llmstxt from 'vitepress-plugin-llms'
import { writeServiceWorker } from './offline.ts'
import { sidebar } from './sidebar.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const site = join(root, 'site')

/** Files that pages link to. */
const linked = new Set<string>()

// VitePress writes the base into a page's links, and not into its head.
const at = process.argv.indexOf('--base')
const base = at < 0 ? '/' : process.argv[at + 1]

export default defineConfig({
  title: 'Tweedie',
  description: 'Minority samples from diffusion models, in Node and in the browser',
  srcDir: '..',
  outDir: join(site, 'dist'),
  srcExclude: ['site/README.md', 'README.md', '{test,src,out,dist,bin,scripts}/**', 'site/dist/**'],
  rewrites: {
    'site/:page': ':page',
    'site/api/:page': 'api/:page',
    'site/api/tweedie/:page': 'api/tweedie/:page',
    ':folder/README.md': ':folder/index.md',
  },
  head: [['link', { rel: 'icon', href: `${base}icon.svg` }]],
  themeConfig: {
    search: { provider: 'local' },
    notFound: { linkLabel: 'Take me home' },
    outline: { level: [2, 3] },
    nav: [
      { text: 'Playground', link: '/playground' },
      { text: 'Bench', link: '/bench.html' },
      { text: 'Guides', link: '/docs/node', activeMatch: '^/docs/' },
      { text: 'API', link: '/api/', activeMatch: '^/api/' },
    ],
    sidebar,
  },
  markdown: {
    // Red keywords of the usual theme have a contrast of 4.1 only, and its comments in the dark of 3.6.
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
    config: (md) => {
      // Indented code may be wider than its page: the keyboard scrolls it, as it does fenced code.
      const block = md.renderer.rules.code_block!
      md.renderer.rules.code_block = (...token) => block(...token).replace('<pre', '<pre tabindex="0"')
      const open = md.renderer.rules.link_open!
      md.renderer.rules.link_open = (tokens, at, options, env, self) => {
        // A README is its folder's index here.
        const href = tokens[at].attrGet('href')!.replace(/(^|\/)README\.md(?=#|$)/, '$1index.md')
        tokens[at].attrSet('href', href)
        const page = (env as { realPath?: string; path: string }).realPath ?? (env as { path: string }).path
        const file = join(dirname(page), href)
        // A link to a file that is no page (examples/sample.js) leads to that file, which lies in the site, too.
        if (/^\w+:|^[#/]|\.md(#|$)/.test(href) || !existsSync(file)) return open(tokens, at, options, env, self)
        linked.add(file)
        // The router takes what ends in .html for a page of its own.
        tokens[at].attrSet('target', '_self')
        return self.renderToken(tokens, at, options)
      }
    },
  },
  // What is served beside the pages, where the repository has it: examples run there as they stand.
  buildEnd: ({ outDir }) => {
    const copied = ['weights', 'examples', 'dist/browser'].map((folder) => join(root, folder))
    for (const path of [...copied, ...linked])
      cpSync(path, join(outDir, relative(root, path)), { recursive: true, filter: (file) => !file.endsWith('.md') })
    writeServiceWorker(join(site, 'service-worker.js'), outDir)
  },
  vite: {
    publicDir: join(site, 'public'),
    // The bench's worker imports its peers when they are asked for, one of them with what its model is written by.
    worker: { format: 'es' },
    resolve: { alias: { flatbuffers: 'https://cdn.jsdelivr.net/npm/flatbuffers@25.9.23/+esm' } },
    // llms.txt, and each page as Markdown beside it.
    plugins: [llmstxt({ workDir: root, ignoreFiles: ['README.md', 'site/README.md'], excludeIndexPage: false })],
  },
})
