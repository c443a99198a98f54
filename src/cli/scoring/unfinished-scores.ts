/**
 * Scores of a run that is not done, beside the file it will write: after a kill or Ctrl-C the same command goes on.
 * They are written about once a minute, for a large data set takes hours.
 */
import { readFile, rm } from 'node:fs/promises'
import type { MinorityScores } from '../../diffusion/index.ts'
import { isWrittenInto, writeText } from '../../io/file.node.ts'
import { aNumber, fieldsOf, jsonText, listOf, parseJson } from '../../io/json.ts'
import { fail } from '../arguments.ts'

/** All of a scores file but the scores. */
export type ScoresHead = Omit<MinorityScores, 'scores'>

/** Whether scores go into a table of names and scores, which does not say what they were made with. */
export const isTable = (out: string): boolean => /\.csv$/i.test(out)

/** Milliseconds between two writes. */
const pause = 60_000

export interface UnfinishedScores {
  /** What an earlier run of the same command found. */
  readonly known: readonly number[]
  /** Writes the scores so far if the last time is long ago, or `now`. */
  save(scores: ArrayLike<number>, now?: boolean): Promise<void>
  /** They are written where they belong. */
  remove(): Promise<void>
}

/**
 * What is known of the result `out`: finished scores in JSON, or unfinished ones beside it. Those of another
 * model, data set or settings are refused, not overwritten. `formerFingerprint`: that of the same data in files
 * of the first version.
 */
export async function unfinishedScores(
  out: string,
  head: ScoresHead,
  formerFingerprint?: string,
): Promise<UnfinishedScores> {
  const path = `${out}.unfinished`
  const file = { ...head, kind: 'unfinished-minority-scores' }
  // A stream has nothing beside it.
  const keeps = !(await isWrittenInto(out))
  const finished = keeps && !isTable(out) ? await knownScores(out, head, formerFingerprint) : null
  const known = finished ?? (keeps ? await knownScores(path, file, formerFingerprint) : null) ?? []
  let [saved, last] = [known.length, performance.now()]
  return {
    known,
    async save(scores, now = false) {
      if (!keeps || scores.length === saved || (!now && performance.now() - last < pause)) return
      await writeText(path, jsonText({ ...file, scores: Array.from(scores) }, path))
      saved = scores.length
      last = performance.now()
    },
    remove: async () => {
      if (keeps) await rm(path, { force: true })
    },
  }
}

/** The scores of a file with this head; null where there is none. */
async function knownScores(
  path: string,
  head: Omit<ScoresHead, 'kind'> & { readonly kind: string },
  formerFingerprint?: string,
): Promise<number[] | null> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' ? '' : Promise.reject(error),
  )
  return text === '' ? null : scoresIn(text, path, head, formerFingerprint)
}

/** The scores in the text of a file; 'option' where they are of something else. */
export function scoresIn(
  text: string,
  path: string,
  head: Omit<ScoresHead, 'kind'> & { readonly kind: string },
  formerFingerprint?: string,
): number[] {
  const what = `${head.kind === 'minority-scores' ? '' : 'unfinished '}scores`
  const { scores, ...old } = parseJson<{ scores: number[]; data?: unknown; fingerprint?: unknown }>(
    text,
    path,
    `${what} of tweedie (choose another --out, or delete it)`,
    fieldsOf({ scores: listOf(aNumber) }),
  )
  const without = ({ data: _, ...rest }: { data?: unknown }): string => JSON.stringify(rest)
  const now = old.fingerprint === formerFingerprint ? { ...head, fingerprint: formerFingerprint } : head
  if (without(old) === without(now) && scores.length <= head.indices.length) return scores
  return fail(`${path} holds ${what} of another model, data set or other settings: choose another --out, or delete it.`)
}
