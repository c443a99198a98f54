/** What a file says of itself, as a message and a terminal may show it. */

/** Of a message: longer ones keep their head, and their end, which says what to do. */
const longest = 8000

/**
 * A text without what moves a terminal's cursor, recolours it or renames its window: control characters but line feeds
 * and tabs, and those that turn the direction of writing, become `\x1b`, `\u202e`.
 */
export const printable = (text: string): string =>
  text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => {
      const code = character.charCodeAt(0)
      return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`
    },
  )

/** A text of at most `most` characters, from its head; what it lost is said by `…`. */
export const clipped = (text: string, most = 100): string => (text.length <= most ? text : `${text.slice(0, most)}…`)

/** A message that may be shown, whatever the names and values in it. */
export const shownMessage = (message: string): string =>
  printable(
    message.length <= longest
      ? message
      : `${message.slice(0, longest - 1000)}… (${message.length - longest} characters) …${message.slice(-1000)}`,
  )

/** A value as JSON in `most` characters, however long and deep it is. */
export function preview(value: unknown, most = 100): string {
  try {
    return clipped(JSON.stringify(shallow(value, 4, most)) ?? String(value), most)
  } catch {
    return typeof value
  }
}

/** So much of a value as `most` characters show. */
function shallow(value: unknown, depth: number, most: number): unknown {
  if (typeof value === 'string') return value.slice(0, most)
  if (typeof value !== 'object' || value === null) return value
  if (depth === 0) return '…'
  if (Array.isArray(value)) return value.slice(0, most).map((item) => shallow(item, depth - 1, most))
  const kept: [string, unknown][] = []
  for (const key in value) {
    if (kept.length === most) break
    kept.push([key.slice(0, most), shallow((value as Record<string, unknown>)[key], depth - 1, most)])
  }
  return Object.fromEntries(kept)
}
