/**
 * What is found in the place of weights more often than damaged weights: told from its first bytes, for the message.
 */
const beginnings: readonly (readonly [beginning: RegExp, what: string])[] = [
  [/^\s*<[!?a-z]/i, 'a page of HTML: servers send one for what they do not have, so check the URL'],
  [/^version /, 'a pointer of Git LFS: the file itself comes with git lfs pull'],
  [/^\x89PNG|^\xff\xd8\xff/, 'a picture'],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: gzip's first two bytes
  [/^\x1f\x8b/, 'a gzip archive: unpack it'],
  [/^\s*[{[]/, 'JSON'],
]

/** What a file is that begins with these bytes; undefined where nothing is known of it. */
export function otherFormat(bytes: Uint8Array): string | undefined {
  const text = String.fromCharCode(...bytes)
  return beginnings.find(([beginning]) => beginning.test(text))?.[1]
}
