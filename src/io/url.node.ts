import { fetchByProxy } from './proxy.node.ts'
import type { ByteSource } from './source.ts'
import { urlSource as sourceOf, type UrlOptions } from './url.ts'

/**
 * A file on a web server, as `urlSource` of a browser has it. The proxy of HTTPS_PROXY and HTTP_PROXY is asked, but for
 * the hosts of NO_PROXY.
 *
 * @throws TweedieError 'option' when the server refuses (the URL is wrong), and for a variable that is no address of a
 *   proxy; 'format' when the transfer fails, when what comes is a page of HTML or a pointer of Git LFS, and when a file
 *   changes between two reads; 'out-of-memory' for a file that has to come whole and does not fit; `signal.reason` when
 *   aborted
 */
export const urlSource = (url: string | URL, options: UrlOptions = {}): Promise<ByteSource> =>
  sourceOf(url, { fetch: fetchByProxy, ...options })
