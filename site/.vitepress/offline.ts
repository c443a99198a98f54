/** The service worker of the built site: `service-worker.js` with the names of what it keeps from the first visit. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** The pages that draw; others are kept as they are read. */
const pages = ['index', 'playground']

/** Writes it into the site. */
export function writeServiceWorker(source: string, outDir: string): void {
  const shell = shellOf(outDir)
  const hash = createHash('sha256')
  for (const file of shell) hash.update(readFileSync(join(outDir, file)))
  const text = readFileSync(source, 'utf8')
    .replace("'VERSION'", `'${hash.digest('hex').slice(0, 16)}'`)
    .replace("'SHELL'", ['./', ...shell].map((file) => `'${file}'`).join(', '))
  writeFileSync(join(outDir, 'service-worker.js'), text)
}

/** The pages, and every file that they name or that such a file names: names have hashes, so that they are unique. */
function shellOf(outDir: string): string[] {
  const assets = readdirSync(join(outDir, 'assets'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    // The search and its index, 1 MB, are for readers who are online.
    .filter(({ name }) => !/localsearch/i.test(name))
    .map(({ parentPath, name }) =>
      join(parentPath, name)
        .slice(outDir.length + 1)
        .replaceAll('\\', '/'),
    )
  const scripts = assets.filter((file) => pages.some((page) => basename(file).startsWith(`${page}.md.`)))
  const shell = new Set(['icon.svg', 'vp-icons.css', ...pages.map((page) => `${page}.html`), ...scripts])
  // A set gives what is added while it is walked, too.
  for (const file of shell) {
    const text = readFileSync(join(outDir, file), 'utf8')
    for (const asset of assets) if (text.includes(basename(asset))) shell.add(asset)
  }
  return [...shell].sort()
}
