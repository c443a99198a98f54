import { TweedieError } from '../errors.ts'

/** How a file begins, and what it is then. */
type Beginning = readonly [beginning: RegExp, what: string]

/** What servers send in the place of any file. */
const standIns: readonly Beginning[] = [
  [/^\s*<[!?a-z]/i, 'a page of HTML: servers send one for what they do not have, so check the URL'],
  [/^version /, 'a pointer of Git LFS: the file itself comes with git lfs pull'],
]

/**
 * What is found in the place of weights more often than damaged weights: told from its first bytes, for the message.
 */
const beginnings: readonly Beginning[] = [
  ...standIns,
  [/^\x89PNG|^\xff\xd8\xff/, 'a picture'],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: gzip's first two bytes
  [/^\x1f\x8b/, 'a gzip archive: unpack it'],
  [/^BZh|^\xfd7zXZ|^7z\xbc\xaf|^Rar!/, 'an archive: unpack it'],
  [/^\x93NUMPY/, 'an array of NumPy'],
  [/^\x89HDF/, 'an HDF5 file, as Keras writes'],
  [/^\s*[{[]/, 'JSON'],
]

/**
 * Refuses what a server sends for a file that it does not have, by its first bytes.
 * @throws TweedieError 'format'
 */
export function refuseStandIn(url: string, bytes: Uint8Array): void {
  const other = find(standIns, bytes)
  if (other) throw new TweedieError('format', `${url}: expected weights, as safetensors or of PyTorch, found ${other}`)
}

/** What a file is that begins with these bytes; undefined where nothing is known of it. */
export const otherFormat = (bytes: Uint8Array): string | undefined => find(beginnings, bytes)

function find(among: readonly Beginning[], bytes: Uint8Array): string | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, 16))
  // A tar begins with the name of its first file, and says what it is at byte 257.
  if (among === beginnings && String.fromCharCode(...bytes.subarray(257, 262)) === 'ustar')
    return 'a tar archive: unpack it'
  return among.find(([beginning]) => beginning.test(text))?.[1]
}
