/** Serves `site/dist` on this machine: `node scripts/serve-site.js [PORT]`. Any web server does; this one isolates. */
import { createReadStream, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { root } from './steps.js'

/** @type {Readonly<Record<string, string>>} */
const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.json': 'application/json',
  '.md': 'text/markdown; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
}
const port = Number(process.argv[2] ?? 8000)
createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname))
  const file = join(root, 'site/dist', path.endsWith('/') ? `${path}index.html` : path)
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return void response.writeHead(404).end('not found')
  response.writeHead(200, {
    'content-type': types[extname(file)] ?? 'application/octet-stream',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
  })
  createReadStream(file).pipe(response)
}).listen(port, '127.0.0.1', () => console.log(`http://localhost:${port}/`))
