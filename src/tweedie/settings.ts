import { lastGuided, respace, selfGuidance, type Respacing, type Sampler } from '../diffusion/index.ts'
import { preset as presetOf, presetNames, unpublished, type DiffusionProcess, type Preset } from '../nn/index.ts'
import { fail } from './fail.ts'
import type { LabelWord } from './labels.ts'

/** The methods of `tweedie sample`. */
export const methods = [
  'ancestral',
  'ddim',
  'self-guided',
  'boost-and-skip',
  'minority-guided',
  'sehwag',
  'attributes',
] as const
/** One of {@link methods}. */
export type Method = (typeof methods)[number]

/** What a run's estimates are made in. */
export interface ProcessSettings {
  /** That of the model's training. */
  readonly process: DiffusionProcess
  /** Whether estimates of x_0 are clipped to [-1, 1]: the sampler's, and those of scores. */
  readonly clipDenoised: boolean
}

/** Self-guidance, but for its distance: `SelfGuidanceOptions` with every default filled in. */
export interface GuideSettings {
  readonly weight: number
  readonly every: number
  readonly strength: number
  readonly after: number
  readonly scale: 'variance' | 'fixed'
  readonly draws: number
  readonly raw: boolean
  readonly through: 'first' | 'second' | 'both'
  readonly clip: boolean
}

/**
 * What a run of the sampler is, with every default filled in: those of a published model from the table of what was
 * published, for the command line and the library alike.
 */
export interface DrawSettings extends ProcessSettings {
  /** Steps to sample in. */
  readonly respacing: Respacing
  /** What walks them. */
  readonly sampler: Sampler
  /** Noise of DDIM, from 0 to 1. */
  readonly eta: number
  /** Classes of the samples in order, starting over; empty for a model without classes. */
  readonly labels: readonly number[]
  /** The word that `labels` were asked for by; null: by their numbers, or not. */
  readonly labelWord: LabelWord | null
  /** Null: no self-guidance. */
  readonly guide: GuideSettings | null
  /** What x_T is multiplied by; 1: nothing. */
  readonly boost: number
  /** Steps left out at the beginning. */
  readonly skip: number
  /** Of everything drawn. */
  readonly seed: number
}

/** What walks the steps of a method. */
export const samplerOf = (method: Method, sampler?: Sampler): Sampler =>
  sampler ?? (method === 'ddim' ? 'ddim' : 'ancestral')

/** The steps that are asked for, else the published ones, else all T. */
export const respacingOf = <R extends Respacing>(
  asked: R | undefined,
  preset: Preset | undefined,
  diffusionSteps: number,
): R | string => asked ?? preset?.sampling.respacing?.steps ?? String(diffusionSteps)

/** Boost-and-Skip's figures: for its method the published ones, else CelebA's; for any other none. */
export function boostAndSkipOf(
  method: Method,
  { boost, skip }: { readonly boost?: number | undefined; readonly skip?: number | undefined },
  preset: Preset | undefined,
): { boost: number; skip: number } {
  const figures =
    method === 'boost-and-skip' ? (preset?.sampling.boostAndSkip ?? unpublished.boostAndSkip) : { boost: 1, skip: 0 }
  return { boost: boost ?? figures.boost, skip: skip ?? figures.skip }
}

type Given<T> = { readonly [K in keyof T]?: T[K] | undefined }

/** Self-guidance with the published figures where others are not given, else CelebA's. */
export function guideOf(given: Given<GuideSettings>, preset: Preset | undefined): GuideSettings {
  const { weight, every, strength } = preset?.sampling.selfGuided ?? unpublished.selfGuided
  return {
    weight: given.weight ?? weight,
    every: given.every ?? every,
    strength: given.strength ?? strength,
    after: given.after ?? -1,
    scale: given.scale ?? 'variance',
    draws: given.draws ?? 1,
    raw: given.raw ?? false,
    through: given.through ?? 'first',
    clip: given.clip ?? false,
  }
}

/**
 * The published minority classifier whose figures are taken: scales were published for a minority classifier on its
 * backbone, and either of the two says which. `name`: that of the classifier, as its user or its file says it.
 */
export function publishedMinority(name: string | undefined, model: Preset | undefined): Preset | undefined {
  const found =
    name === undefined
      ? presetNames()
          .map(presetOf)
          .find(({ sampling }) => model && sampling.minority?.backbone === model.name)
      : presetOf(name)
  return found?.sampling.minority ? found : undefined
}

/** The scale of minority guidance that is asked for, else the published one, else 1. */
export const minorityScaleOf = (asked: number | undefined, published: Preset | undefined): number =>
  asked ?? published?.sampling.minority?.scale ?? 1

/** The scale of class guidance that is asked for, else the published one, else 1. */
export const classifierScaleOf = (asked: number | undefined, preset: Preset | undefined): number =>
  asked ?? preset?.sampling.classifier?.scale ?? 1

/** Refuses to leave out every step, and a self-guidance that guides none. `called`: an option as its user writes it. */
export function checkSteps(
  { process, respacing, skip, guide }: Pick<DrawSettings, 'process' | 'respacing' | 'skip' | 'guide'>,
  called: (option: string) => string,
): void {
  const { steps } = respace({ ...process, respacing })
  if (skip >= steps) fail(`${called('skip')} ${skip} leaves none of the ${steps} steps.`)
  if (guide && guide.weight !== 0 && lastGuided(selfGuidance(guide), steps - skip - 1, steps) === null) {
    fail(
      `${called('guide-every')} ${guide.every} and ${called('guide-after')} ${guide.after} guide none of the ` +
        `${steps - skip} steps: take a smaller number of either.`,
    )
  }
}
