import { readFile } from 'node:fs/promises'
import { join, parse, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openFile } from '../io/index.node.ts'
import { fetchByProxy } from '../io/proxy.node.ts'
import { lastPart, web, type Files } from './files.ts'

const isWeb = (where: string | URL): boolean => /^https?:/i.test(String(where))
const pathOf = (where: string | URL): string =>
  where instanceof URL || where.startsWith('file:') ? fileURLToPath(where) : where

/** Files of Node: on disk by path or `file:` URL, on the web by `http(s):`, and the shipped ones in the package. */
export const nodeFiles: Files & { readonly shipped: URL } = {
  open: (where, options) =>
    isWeb(where) ? web.open(where, { ...options, fetch: fetchByProxy }) : openFile(pathOf(where)),
  async jsonBeside(where) {
    if (isWeb(where)) return undefined
    const { dir, name, ext } = parse(pathOf(where))
    // An index of shards is one itself.
    if (ext === '.json') return undefined
    return readFile(join(dir, `${name}.json`), 'utf8').catch(() => undefined)
  },
  isWeb,
  recorded: (where) => (isWeb(where) ? lastPart(where) : resolve(pathOf(where))),
  // Beside src/ and beside dist/ alike.
  shipped: new URL('../../weights/', import.meta.url),
}
