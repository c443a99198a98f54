import { clipped } from './printable.ts'

/** What an error message offers next to a name that is not there: the known one that is nearest to it. */

/**
 * Levenshtein distance of two strings, or `limit + 1` where it exceeds `limit`. The common prefix and suffix, which
 * state-dict keys share at length, are cut off first, and it gives up as soon as a row of the table exceeds `limit`:
 * 600 names against 600 keys take well under a second.
 */
export function editDistance(a: string, b: string, limit = Infinity): number {
  let start = 0
  let endA = a.length
  let endB = b.length
  while (start < endA && start < endB && a.charCodeAt(start) === b.charCodeAt(start)) start++
  while (endA > start && endB > start && a.charCodeAt(endA - 1) === b.charCodeAt(endB - 1)) {
    endA--
    endB--
  }
  const n = endB - start
  if (Math.abs(endA - start - n) > limit) return limit + 1
  const row = Array.from({ length: n + 1 }, (_, j) => j)
  for (let i = 1; i <= endA - start; i++) {
    let diagonal = i - 1
    let smallest = (row[0] = i)
    for (let j = 1; j <= n; j++) {
      const substituted = diagonal + (a.charCodeAt(start + i - 1) === b.charCodeAt(start + j - 1) ? 0 : 1)
      diagonal = row[j]
      const cost = Math.min(substituted, diagonal + 1, row[j - 1] + 1)
      row[j] = cost
      if (cost < smallest) smallest = cost
    }
    if (smallest > limit) return limit + 1
  }
  return Math.min(row[n], limit + 1)
}

/** Names of files may be many and long, and the time of comparing two grows with the product of their lengths. */
const [longestName, mostCandidates, mostNamed] = [200, 2000, 8]

/**
 * The candidate with the smallest edit distance to `name` (the first of equals), or undefined where even the best
 * differs in more than half of the name: a far-fetched suggestion is worse than none. Names of more than 200 characters
 * have none, and of more than 2,000 candidates the first are looked at.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  if (name.length > longestName) return undefined
  let best: string | undefined
  let looked = 0
  let limit = Math.max(1, Math.floor(name.length / 2))
  for (const candidate of candidates) {
    if (++looked > mostCandidates) break
    const distance = editDistance(name, candidate, limit)
    if (distance > limit) continue
    best = candidate
    limit = distance - 1
    if (distance === 0) break
  }
  return best
}

/**
 * `unknown option "spuds" (did you mean "steps"?)`, or null where all of `names` are known. `what` is one
 * of them: option, key.
 */
export function unknownNames(what: string, names: readonly string[], known: Iterable<string>): string | null {
  const all = [...known]
  const unknown = names.filter((name) => !all.includes(name))
  if (unknown.length === 0) return null
  const listed = unknown.slice(0, mostNamed).map((name) => {
    const near = nearestName(name, all)
    return near ? `"${name}" (did you mean "${near}"?)` : `"${clipped(name)}"`
  })
  if (unknown.length > mostNamed) listed.push(`and ${unknown.length - mostNamed} more`)
  return `unknown ${what}${unknown.length === 1 ? '' : 's'} ${listed.join(', ')}`
}
