/** What `tweedie score` does once a device is there: scores, keeps them, writes them down, and shows them. */
import { basename } from 'node:path'
import { imageBatch, imageOf, type ImageSet } from '../../data/index.ts'
import {
  encodeMinorityScores,
  scoreImages,
  scoreSettings,
  type ImageSource,
  type ScoreProcess,
} from '../../diffusion/index.ts'
import { exists, writeText } from '../../io/file.node.ts'
import type { UNet } from '../../nn/index.ts'
import type { Device } from '../../tensor/index.ts'
import type { ProcessSettings } from '../../tweedie/settings.ts'
import type { LoadedDistance } from '../../tweedie/distance.ts'
import { counted } from '../counted.ts'
import { csvField } from '../csv.ts'
import { beginningOf, keepsOthers } from '../outputs.ts'
import { progress } from '../progress.ts'
import { isScorePage, pageGroups, rarestFirst, scorePage, thumbnail, type ShownImage } from '../pages/score-page.ts'
import { isTable, unfinishedScores, type ScoresHead, type UnfinishedScores } from './unfinished-scores.ts'
import { version } from '../../version.ts'
import { print, tell } from '../print.ts'

export interface ScoreJob extends ScoreProcess, ProcessSettings {
  readonly draws: number
  readonly seed: number
  readonly batch: number
  readonly out: string
  readonly html: string | null
  /** The whole data set, and which of its images are scored. */
  readonly set: ImageSet
  readonly indices: readonly number[]
  /** The class of every image of the set, as a class-conditional model is told. */
  readonly told: Int32Array | null
  readonly model: { readonly path: string; readonly sha256: string }
}

export interface ScoreTools {
  readonly device: Device
  readonly model: UNet
  readonly distance: LoadedDistance
}

/** Images a run scores, with everything that `scoreImages` needs but which of them. */
type Scoring = (
  options: Pick<Parameters<typeof scoreImages>[3], 'indices' | 'known' | 'draws' | 'reconstructions' | 'onProgress'>,
) => ReturnType<typeof scoreImages>

export async function runScores(
  job: ScoreJob,
  { device, model, distance }: ScoreTools,
  signal: AbortSignal,
): Promise<void> {
  const { clipDenoised, diffusion, t, draws, seed, batch, out, set, indices, told } = job
  const { imageSize: size, inChannels: channels } = model.config
  const source: ImageSource = {
    length: set.length,
    shape: [channels, size, size],
    read: async (some, abort) => (await imageBatch(set, some, { size, channels: channels as 1 | 3 }, abort)).images,
  }
  const scoring: Scoring = (options) =>
    scoreImages(device, model, source, {
      diffusion,
      t,
      distance: distance.distance,
      draws,
      seed,
      clipDenoised,
      batch,
      signal,
      ...(told && { classes: told }),
      ...options,
    })

  const head = headOf(job, distance.name)
  const unfinished = await unfinishedScores(out, head, set.formerFingerprint)
  const scores = await scoreAll(head, unfinished, scoring)
  const text = isTable(out)
    ? table(set, indices, scores)
    : encodeMinorityScores({ ...head, scores: Array.from(scores) }, out)
  await writeText(out, text, signal)
  if (job.html !== null) await writePage(job.html, job, head, scores, source, scoring, signal)
  await unfinished.remove()
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length
  print(`${out}: ${counted(scores.length, 'score')}, mean ${mean.toPrecision(4)} (${distance.name})`)
}

/** Of a file that is there, for the outputs of `score`: what is ours is compared later, when the settings are known. */
export const keepsOtherScores = async (path: string): Promise<string | null> => {
  if (!isTable(path)) return keepsOthers('minority-scores')(path)
  // Beside a table whose page was not finished its settings are still there.
  const unfinished = await exists(`${path}.unfinished`)
  return unfinished ? null : 'is there already, and a table does not say which scores it holds'
}

export const keepsOtherPage = async (path: string): Promise<string | null> =>
  isScorePage(await beginningOf(path, 1000)) ? null : 'is no page of scores'

function headOf(
  { process, clipDenoised, diffusion, t, draws, seed, set, indices, told, model }: ScoreJob,
  distance: string,
): ScoresHead {
  const classes = told ?? set.labels
  return {
    program: 'tweedie',
    kind: 'minority-scores',
    data: set.name,
    fingerprint: set.fingerprint,
    ...scoreSettings(
      process,
      { diffusion, t },
      { model: model.sha256, distance, draws, seed, conditional: told !== null, clipDenoised },
    ),
    indices,
    ...(classes && { classes: indices.map((k) => classes[k]) }),
    ...(classes && classes === set.labels && set.classes && { classNames: set.classes }),
    ...(set.leftOut && { leftOut: set.leftOut }),
  }
}

/** Scores what an earlier run has not, and keeps what is found whatever happens. */
async function scoreAll(
  { indices, distance }: ScoresHead,
  unfinished: UnfinishedScores,
  scoring: Scoring,
): Promise<Float32Array> {
  const { known } = unfinished
  if (known.length > 0) tell(`${known.length} of ${indices.length} images are scored already.`)
  const bar = progress(`Scoring (${distance})`, indices.length - known.length, 'images')
  let found: ArrayLike<number> = known
  try {
    const { scores } = await scoring({
      indices,
      known,
      onProgress: (sofar) => {
        bar.update(sofar.length - known.length)
        return unfinished.save((found = sofar))
      },
    })
    return scores
  } finally {
    bar.stop()
    // All of them too: the page may be stopped.
    await unfinished.save(found, true)
    if (found.length < indices.length && found.length > 0)
      tell(`${found.length} of ${indices.length} scores are kept; the same command goes on from there.`)
  }
}

function table(set: ImageSet, indices: readonly number[], scores: ArrayLike<number>): string {
  return ['name,score', ...indices.map((k, i) => `${csvField(set.imageName(k))},${scores[i]}`), ''].join('\n')
}

async function writePage(
  path: string,
  job: ScoreJob,
  head: ScoresHead,
  scores: ArrayLike<number>,
  source: ImageSource,
  scoring: Scoring,
  signal: AbortSignal,
): Promise<void> {
  const { set, indices, batch, model } = job
  const groups = pageGroups(scores)
  const places = groups.flatMap(({ members }) => members)
  const images = new Map<number, ShownImage>()
  const bar = progress('Reconstructions for the page', places.length, 'images')
  try {
    for (let begin = 0; begin < places.length; begin += batch) {
      const some = places.slice(begin, begin + batch)
      const numbers = some.map((place) => indices[place])
      const original = await source.read(numbers, signal)
      const { reconstructions } = await scoring({ indices: numbers, draws: 1, reconstructions: true })
      const shape = [some.length, ...source.shape]
      some.forEach((place, i) =>
        images.set(place, {
          name: set.imageName(numbers[i]),
          image: thumbnail(imageOf(original, shape, i)),
          reconstruction: thumbnail(imageOf(reconstructions as Float32Array, shape, i)),
        }),
      )
      bar.update(images.size)
    }
  } finally {
    bar.stop()
  }
  const brightness = await brightnessOf(
    rarestFirst(scores).map((place) => indices[place]),
    source,
    signal,
  )
  const classes = head.classes && {
    labels: head.classes,
    names:
      head.classNames ?? Array.from({ length: head.classes.reduce((a, b) => Math.max(a, b)) + 1 }, (_, c) => String(c)),
  }
  const html = await scorePage({
    name: basename(set.name),
    model: basename(model.path),
    settings: head,
    scores,
    groups,
    images,
    brightness,
    version,
    ...(classes && { classes }),
  })
  await writeText(path, html, signal)
  print(`Page: ${path}`)
}

/** Mean pixel values of the thousand rarest and most common images (of half of each in a set of fewer than 2,000). */
async function brightnessOf(
  rarest: readonly number[],
  source: ImageSource,
  signal: AbortSignal,
): Promise<{ count: number; rare: number; common: number }> {
  const count = Math.max(1, Math.min(1000, Math.floor(rarest.length / 2)))
  const mean = async (some: readonly number[]): Promise<number> => {
    let total = 0
    for (const k of some) {
      const values = await source.read([k], signal)
      total += values.reduce((sum, v) => sum + (v + 1) * 127.5, 0) / values.length
    }
    return total / some.length
  }
  return { count, rare: await mean(rarest.slice(0, count)), common: await mean(rarest.slice(-count)) }
}
