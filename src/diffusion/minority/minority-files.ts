/**
 * The two files between a data set and its minority classifier, in JSON: scores (`tweedie score`) and labels
 * (`tweedie label`). Both name the data they were made from by its fingerprint, so that neither is taken for those of
 * other images.
 */
import { TweedieError } from '../../errors.ts'
import {
  aBoolean,
  aCount,
  aNumber,
  aText,
  anyOf,
  fieldsOf,
  jsonText,
  listOf,
  oneOf,
  optional,
  parseJson,
  type Check,
} from '../../io/json.ts'
import type { DiffusionProcess } from '../../nn/config.ts'
import { refuseOther, refuseUnknown } from '../../refuse.ts'
import type { DiffusionOptions } from '../process/gaussian-diffusion.ts'
import { equalWidthLabels, quantileLabels } from './labels.ts'
import type { ScoreProcess } from './minority-score.ts'

/** How images were scored: part of a file of scores and of one of labels. */
export interface ScoreSettings extends Pick<DiffusionProcess, 'schedule' | 'diffusionSteps'> {
  /** sha256 of the model file. */
  readonly model: string
  /** What the model predicts. Absent: epsilon. */
  readonly predict?: DiffusionProcess['meanType']
  readonly respacing: string
  /** Index of the respaced process. */
  readonly t: number
  /** The training step it stands for. */
  readonly timestep: number
  /** "LPIPS (vgg)", "L2", "L1". */
  readonly distance: string
  readonly draws: number
  readonly seed: number
  /** Whether the model was told each image's class. */
  readonly conditional: boolean
  /** False where the estimates were not clipped to [-1, 1]. */
  readonly clipDenoised?: false
}

/**
 * A file of minority scores (`tweedie score`), in JSON. It names the data by its fingerprint, so that scores are not
 * taken for those of other images.
 */
export interface MinorityScores extends ScoreSettings {
  readonly program: 'tweedie'
  readonly kind: 'minority-scores'
  /** Path of the data set, for people. */
  readonly data: string
  /** Of the data set. */
  readonly fingerprint: string
  /** The scored images, by number in the data set. */
  readonly indices: readonly number[]
  readonly scores: readonly number[]
  /**
   * The class of each scored image, as the model was told or else as the data set has it: an index into `classNames`.
   */
  readonly classes?: readonly number[]
  readonly classNames?: readonly string[]
  /** Files of the data set that could not be read as images, and were left out of it. */
  readonly leftOut?: readonly string[]
}

/**
 * A file of minority labels (`tweedie label`), in JSON: the level of each scored image, 0 the most common. It names the
 * data by its fingerprint, and how its scores were made.
 */
export interface MinorityLabels {
  readonly program: 'tweedie'
  readonly kind: 'minority-labels'
  readonly data: string
  readonly fingerprint: string
  /** How many; label levels - 1 is the rarest. Within classes of different numbers, the largest. */
  readonly levels: number
  readonly within: 'all' | 'class'
  /** How it was cut. Absent in older files: at quantiles. */
  readonly by?: 'quantiles' | 'equal-width'
  /**
   * The upper threshold of each level; with `within` "class", a row a class, as long as that class has levels, empty
   * where it has no images.
   */
  readonly thresholds: readonly number[] | readonly (readonly number[])[]
  readonly indices: readonly number[]
  readonly labels: readonly number[]
  readonly scores: ScoreSettings
}

/** What the process does not say of how images were scored. */
export interface ScoredWith extends Pick<ScoreSettings, 'model' | 'distance' | 'draws' | 'seed' | 'conditional'> {
  /** Default true. */
  readonly clipDenoised?: boolean
}

/**
 * The settings of scores for their file: `options` are those of the process, `scored` is what
 * `scoreProcess` made of them.
 */
export function scoreSettings(
  options: Omit<DiffusionOptions, 'respacing'>,
  scored: ScoreProcess,
  { model, distance, draws, seed, conditional, clipDenoised = true }: ScoredWith,
): ScoreSettings {
  const { schedule, diffusionSteps, meanType = 'epsilon' } = options
  const { diffusion, t } = scored
  return {
    model,
    schedule,
    diffusionSteps,
    respacing: String(diffusion.steps),
    t,
    timestep: diffusion.process.timestepMap[t],
    distance,
    draws,
    seed,
    conditional,
    ...(meanType !== 'epsilon' && { predict: meanType }),
    ...(!clipDenoised && { clipDenoised }),
  }
}

/** Options of {@link minorityLabels}. */
export interface LabelOptions {
  /** How many, 2 or more; with `within: 'class'` also a number for each class. */
  readonly levels: number | readonly number[]
  /** See {@link quantileLabels} and {@link equalWidthLabels}. Default 'quantiles'. */
  readonly by?: 'quantiles' | 'equal-width'
  /** Cut all images together, or each class for itself. Default 'all'. */
  readonly within?: 'all' | 'class'
  /** The class of each scored image, for `within: 'class'`. Default: those of the scores. */
  readonly classes?: ArrayLike<number>
  /** For messages, and for how many classes there are. Default: those of the scores. */
  readonly classNames?: readonly string[]
}

/**
 * Scores cut into the levels of a minority classifier.
 * @throws TweedieError 'option' for `within: 'class'` without classes, else as {@link quantileLabels} and
 *   {@link equalWidthLabels} do
 */
export function minorityLabels(file: MinorityScores, options: LabelOptions): MinorityLabels {
  refuseUnknown('minorityLabels', options, { levels: true, by: true, within: true, classes: true, classNames: true })
  const { levels, by = 'quantiles', within = 'all', classes = file.classes, classNames = file.classNames } = options
  refuseOther('by', by, ['quantiles', 'equal-width'])
  refuseOther('within', within, ['all', 'class'])
  const { data, fingerprint, indices, scores } = file
  const cut = { quantiles: quantileLabels, 'equal-width': equalWidthLabels }[by]
  const labelled = (
    count: number,
    { thresholds, labels }: { readonly thresholds: number[] | number[][]; readonly labels: Int32Array },
  ): MinorityLabels => ({
    program: 'tweedie',
    kind: 'minority-labels',
    data,
    fingerprint,
    levels: count,
    within,
    by,
    thresholds,
    labels: [...labels],
    indices,
    scores: settingsIn(file),
  })
  if (within === 'all') {
    if (typeof levels !== 'number')
      throw new TweedieError('option', "minorityLabels: a number of levels for each class needs within: 'class'.")
    return labelled(levels, cut(scores, levels))
  }
  if (!classes)
    throw new TweedieError(
      'option',
      "minorityLabels: within: 'class' needs the class of each image, and the scores have none: classes.",
    )
  const found = cut(scores, levels, classes, classNames)
  // A class without images may have been given the most.
  return labelled(Math.max(...found.thresholds.map(({ length }) => length)), found)
}

/**
 * The text of a scores file. `name` is what messages call it.
 * @throws TweedieError 'non-finite' for a score that is no number
 */
export const encodeMinorityScores = (file: MinorityScores, name = 'a file of minority scores'): string =>
  `${jsonText(file, name)}\n`

/**
 * The text of a labels file. `name` is what messages call it.
 * @throws TweedieError 'non-finite' for a threshold that is no number
 */
export const encodeMinorityLabels = (file: MinorityLabels, name = 'a file of minority labels'): string =>
  `${jsonText(file, name)}\n`

const settingsFields: { readonly [K in keyof ScoreSettings]-?: Check } = {
  model: aText,
  schedule: oneOf('cosine', 'linear'),
  diffusionSteps: aCount,
  respacing: aText,
  t: aCount,
  timestep: aCount,
  distance: aText,
  draws: aCount,
  seed: aCount,
  conditional: aBoolean,
  predict: optional(aText),
  clipDenoised: optional(aBoolean),
}

/** How the images of a scores file were scored, without the scores. */
const settingsIn = (file: ScoreSettings): ScoreSettings =>
  Object.fromEntries(
    Object.keys(settingsFields).flatMap((key) => (key in file ? [[key, file[key as keyof ScoreSettings]]] : [])),
  ) as unknown as ScoreSettings

/**
 * Reads a scores file. `name` is what messages call it.
 * @throws TweedieError 'format' for a text that is none, or damaged
 */
export function parseMinorityScores(text: string, name: string): MinorityScores {
  const file = parsed<MinorityScores>(
    text,
    name,
    'minority-scores',
    'tweedie score --data DATA --model M --out scores.json',
    {
      ...settingsFields,
      scores: listOf(aNumber),
      classes: optional(listOf(aCount)),
      classNames: optional(listOf(aText)),
      leftOut: optional(listOf(aText)),
    },
  )
  checkColumns(name, file.indices, { scores: file.scores, ...(file.classes && { classes: file.classes }) })
  return file
}

/**
 * Reads a labels file. `name` is what messages call it.
 * @throws TweedieError 'format' for a text that is none, or damaged
 */
export function parseMinorityLabels(text: string, name: string): MinorityLabels {
  const file = parsed<MinorityLabels>(
    text,
    name,
    'minority-labels',
    'tweedie label --scores scores.json --levels L --out labels.json',
    {
      levels: aCount,
      within: oneOf('all', 'class'),
      by: optional(oneOf('quantiles', 'equal-width')),
      thresholds: listOf(anyOf(listOf(aNumber), aNumber)),
      labels: listOf(aCount),
      scores: fieldsOf(settingsFields),
    },
  )
  checkColumns(name, file.indices, { labels: file.labels })
  const { levels, labels, thresholds, within } = file
  const full = (row: unknown): boolean => Array.isArray(row) && row.length === levels
  // A class may have fewer levels, and without images none.
  const rows =
    within === 'all'
      ? full(thresholds)
      : thresholds.every((row) => Array.isArray(row) && row.length <= levels) && thresholds.some(full)
  const valid = rows && labels.every((label) => label < levels)
  if (!valid)
    throw new TweedieError(
      'format',
      `${name}: expected labels from 0 to levels - 1 and as many thresholds as levels. The file ` +
        'is damaged: make it again.',
    )
  return file
}

/**
 * Refuses scores or labels of other images.
 * @throws TweedieError 'option'
 */
export function checkFingerprint(
  file: { readonly data: string; readonly fingerprint: string },
  name: string,
  set: { readonly name: string; readonly fingerprint: string; readonly formerFingerprint?: string },
): void {
  if ([set.fingerprint, set.formerFingerprint].includes(file.fingerprint)) return
  throw new TweedieError(
    'option',
    `${name} was made from other images (${file.data}, fingerprint ${file.fingerprint.slice(0, 16)}…) than ` +
      `${set.name} holds (${set.fingerprint.slice(0, 16)}…): ` +
      'name the data it was made from, or score these.',
  )
}

function parsed<T extends { readonly kind: string; readonly fingerprint: string; readonly indices: unknown }>(
  text: string,
  name: string,
  kind: T['kind'],
  command: string,
  fields: Readonly<Record<string, Check>>,
): T {
  let file: Partial<T> | null = null
  try {
    file = JSON.parse(text) as Partial<T> | null
  } catch {
    // Said below.
  }
  if (file?.kind === kind)
    return parseJson<T>(
      text,
      name,
      `${kind.replace('-', ' ')} of tweedie`,
      fieldsOf({ data: aText, fingerprint: aText, indices: listOf(aCount), ...fields }),
    )
  const found = typeof file?.kind === 'string' ? `a file of the kind "${file.kind}"` : 'something else'
  throw new TweedieError(
    'format',
    `${name}: expected ${kind.replace('-', ' ')} of tweedie, found ${found}. They are made by: ${command}`,
  )
}

function checkColumns(name: string, indices: readonly number[], columns: Record<string, readonly number[]>): void {
  const broken = Object.keys(columns).find((key) => columns[key].length !== indices.length)
  if (broken === undefined) return
  throw new TweedieError(
    'format',
    `${name}: expected ${indices.length} numbers in "${broken}", found ${columns[broken].length}. The file ` +
      'is damaged: make it again.',
  )
}
