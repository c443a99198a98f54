/** What is said of an evaluation's numbers, on its page and in the terminal. */
import type { Evaluation, Measurement } from '../../metrics/index.ts'

/** A note. */
export interface Note {
  /** The space it is about; null: the sets, or all of them. */
  readonly space: string | null
  /** The sets it befell, as they are named; none where it is about all. */
  readonly sets: readonly string[]
  readonly text: string
}

/**
 * The warnings as notes for people: one a cause, with all methods that it befell. Warnings begin with `SET in SPACE: `
 * or `SPACE: `, or are about the evaluation. In their order, equal ones of a space joined.
 */
export function notesOf({
  warnings,
  methods,
  heldOut,
  spaces,
}: Pick<Evaluation, 'warnings' | 'methods' | 'heldOut' | 'spaces'>): Note[] {
  const heads = spaces.flatMap(({ name: space }) => [
    ...[...methods, ...(heldOut ? [heldOut] : [])].map(({ name }) => ({
      head: `${name} in ${space}: `,
      space,
      set: [name],
    })),
    { head: `${space}: `, space, set: [] as string[] },
  ])
  const notes = new Map<string, Note>()
  for (const warning of warnings) {
    const found = heads.find(({ head }) => warning.startsWith(head))
    const text = found ? warning.slice(found.head.length) : warning
    const key = `${found?.space}: ${text}`
    notes.set(key, {
      space: found?.space ?? null,
      sets: [...(notes.get(key)?.sets ?? []), ...(found?.set ?? [])],
      text,
    })
  }
  return [...notes.values()]
}

/** A note as a sentence. */
export function noteText({ sets, text }: Note): string {
  const [first, ...rest] = text
  return sets.length > 0 ? `${sets.join(', ')}: ${text}` : `${first.toUpperCase()}${rest.join('')}`
}

/** How the measures of rarity are read, where there are any. */
export function rarityKey(rows: readonly Measurement[]): string[] {
  const has = (measure: Measurement['measure']): boolean => rows.some((row) => row.measure === measure)
  return [
    ...(has('avgknn') || has('lof') || has('rarity')
      ? ['How rare samples are is read with precision: noise is rarer than any image.']
      : []),
    ...(has('rarity')
      ? ['The Rarity Score is a mean over those that lie in a ball of the real images, and says nothing of the others.']
      : []),
  ]
}
