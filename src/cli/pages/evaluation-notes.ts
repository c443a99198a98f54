/** The warnings of an evaluation as notes for people: one a cause, with all methods that it befell. */
import type { Evaluation } from '../../metrics/index.ts'

/** A note. */
export interface Note {
  /** The space it is about; null: the sets, or all of them. */
  readonly space: string | null
  /** The sets it befell, as they are named; none where it is about all. */
  readonly sets: readonly string[]
  readonly text: string
}

/**
 * Warnings begin with `SET in SPACE: ` or `SPACE: `, or are about the evaluation. In their order, equal ones of a space
 * joined.
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
