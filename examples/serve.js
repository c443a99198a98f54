/**
 * Serves the package's folder, for the pages here.
 *
 *     node examples/serve.js [port]
 *
 * The two headers let a page share memory with its workers; without them the CPU backend has one thread.
 */
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname } from 'node:path'

const types = { '.html': 'text/html', '.js': 'text/javascript' }
const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

const server = createServer(async ({ url }, response) => {
  const { pathname } = new URL(url, 'http://localhost') // has no ".." any more
  try {
    const body = await readFile(new URL(`..${pathname}`, import.meta.url))
    response
      .writeHead(200, { ...isolation, 'content-type': types[extname(pathname)] ?? 'application/octet-stream' })
      .end(body)
  } catch {
    response.writeHead(404).end(`There is no ${pathname}.`)
  }
})
server.listen(Number(process.argv[2] ?? 8000), 'localhost', () => {
  const { port } = server.address()
  for (const page of ['page', 'client']) console.log(`http://localhost:${port}/examples/${page}.html`)
})
