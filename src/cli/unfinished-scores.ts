/**
 * Scores of a run that is not done, beside the file it will write: after a kill or Ctrl-C the same command goes on. They
 * are written about once a minute, for a large data set takes hours.
 */
import { readFile, rm } from 'node:fs/promises'
import type { MinorityScores } from '../diffusion/index.ts'
import { writeFileAtomic } from '../io/index.node.ts'
import { fail } from './arguments.ts'

/** All of a scores file but the scores. */
export type ScoresHead = Omit<MinorityScores, 'scores'>

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

/** Unfinished scores for the result `out`. Those of another model, data set or settings are refused, not overwritten. */
export async function unfinishedScores(out: string, head: ScoresHead): Promise<UnfinishedScores> {
  const path = `${out}.unfinished`
  const file = { ...head, kind: 'unfinished-minority-scores' }
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => error.code === 'ENOENT' ? null : Promise.reject(error))
  const known = text === null ? [] : knownScores(text, path, file)
  let [saved, last] = [known.length, performance.now()]
  return {
    known,
    async save(scores, now = false) {
      if (scores.length === saved || (!now && performance.now() - last < pause)) return
      await writeFileAtomic(path, [new TextEncoder().encode(JSON.stringify({ ...file, scores: Array.from(scores) }))])
      saved = scores.length
      last = performance.now()
    },
    remove: () => rm(path, { force: true }),
  }
}

function knownScores(text: string, path: string, file: object): number[] {
  const without = ({ scores, data, ...rest }: { scores?: unknown; data?: unknown }): string => JSON.stringify([rest, scores === undefined || Array.isArray(scores)])
  try {
    const old = JSON.parse(text) as { scores: number[] }
    if (without(old) === without(file)) return old.scores
  } catch {
    // Said below.
  }
  return fail(`${path} holds unfinished scores of another model, data set or other settings: choose another --out, or delete it.`)
}
