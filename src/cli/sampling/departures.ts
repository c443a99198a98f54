/**
 * What is done otherwise than the authors of a model did: a line for each method in use, of `sample` for
 * stderr, run.json and the report. A figure that was published for another distance or another model is not the
 * paper's, whatever its value.
 */
import {
  preset as presetOf,
  presetNames,
  publishedScoreDistance,
  publishedSelfDistance,
  publishedTraining,
  unpublished,
  type ClassifierTraining,
  type DiffusionTraining,
  type SamplingHints,
} from '../../nn/index.ts'
import type { SampleSettings } from '../options/sample.ts'
import type { UpsamplerSettings } from '../options/upsampler.ts'
import { tell } from '../print.ts'

/**
 * `distance`: what it is called for people, "L2" or "LPIPS (alex)". Empty where all is as published, or nothing was.
 */
export function departures(settings: SampleSettings, distance: string): string[] {
  const { known } = settings
  const hints = hintsOf(known.model)
  const name = known.model ?? 'this model'
  return [
    ...steps(settings, hints, name),
    ...selfGuidance(settings, hints, name, distance),
    ...boostAndSkip(settings, hints, name),
    ...classifier(settings, hints, name),
    ...minority(settings),
    ...upsamplerDepartures(settings.upsampler, known.upsampler),
  ]
}

const hintsOf = (preset: string | null): SamplingHints => (preset === null ? {} : presetOf(preset).sampling)

/** Nothing where nothing differs. */
const line = (what: string, published: string, source: string, here: readonly (string | false)[]): string[] => {
  const differing = here.filter((one) => one !== false)
  return differing.length === 0
    ? []
    : [`${what}: published with ${published} (${source}), this run with ${differing.join(', ')}`]
}

/** Says them on stderr, as a line. */
export function sayDepartures(lines: readonly string[]): void {
  if (lines.length > 0) tell(`note: not as published: ${lines.join('; ')}.`)
}

/**
 * Of minority scores by a model that is guided with them: the distance, and of LSUN the strength (mg
 * README.md: perturb_t).
 */
export function scoreDepartures(model: string | undefined, distance: string, t: number): string[] {
  if (model === undefined || !presetNames().some((name) => hintsOf(name).minority?.backbone === model)) return []
  const step = model === 'lsun_bedroom' ? ', step 60' : ''
  return line(`minority scores of ${model}`, `${publishedScoreDistance}${step}`, 'mg construct_ms_dataset.py', [
    distance !== publishedScoreDistance && distance,
    step !== '' && t !== 60 && `step ${t}`,
  ])
}

/** Of the training of a published U-Net. */
export function diffusionTrainingDepartures(
  preset: string | undefined,
  { batch, lr, scheduleSampler }: DiffusionTraining,
): string[] {
  const published = preset === undefined ? undefined : publishedTraining[preset]
  if (!published) return []
  return line(
    `training of ${preset}`,
    `batch ${published.batch}, lr ${published.lr}, schedule sampler ${published.scheduleSampler}`,
    'id README.md',
    [
      batch !== published.batch && `batch ${batch}`,
      lr !== published.lr && `lr ${lr}`,
      scheduleSampler !== published.scheduleSampler && `schedule sampler ${scheduleSampler}`,
    ],
  )
}

/** Of the training of a published minority classifier. */
export function trainingDepartures(
  preset: string | undefined,
  { iterations, batch, lr, weightDecay }: ClassifierTraining,
): string[] {
  const hint = hintsOf(preset ?? null).minority
  if (!hint) return []
  const { training } = hint
  const count = (n: number): string => n.toLocaleString('en')
  return line(
    `training of ${preset}`,
    `${count(training.iterations)} iterations of batch ${training.batch}, lr ${training.lr}, weight ` +
      `decay ${training.weightDecay}`,
    hint.source,
    [
      iterations !== training.iterations && `${count(iterations)} iterations`,
      batch !== training.batch && `batch ${batch}`,
      lr !== training.lr && `lr ${lr}`,
      weightDecay !== training.weightDecay && `weight decay ${weightDecay}`,
    ],
  )
}

function steps(
  { respacing, sampler, clipDenoised, marginal }: SampleSettings,
  { respacing: hint }: SamplingHints,
  name: string,
): string[] {
  if (!hint) return []
  return line(name, `ancestral sampling in ${hint.steps} steps`, hint.source, [
    sampler === 'ddim' && 'ddim',
    respacing !== hint.steps && `respacing ${respacing}`,
    !clipDenoised && 'estimates that are not clipped',
    marginal !== null && 'a start from the fitted marginal',
  ])
}

function selfGuidance(
  { guide }: SampleSettings,
  { selfGuided }: SamplingHints,
  name: string,
  distance: string,
): string[] {
  if (!guide) return []
  const { weight, every, strength, source } = selfGuided ?? unpublished.selfGuided
  const other = distance !== publishedSelfDistance
  const more = [
    guide.scale === 'fixed' && 'a fixed scale',
    guide.raw && 'raw gradients',
    guide.through !== 'first' &&
      `the gradient through ${guide.through === 'both' ? 'both estimates' : 'the second estimate'}`,
    guide.clip && 'clipped estimates',
    guide.after !== -1 && `steps above ${guide.after}`,
    guide.draws !== 1 && `${guide.draws} draws`,
  ]
  const differing = [other && distance, ...more].filter((one) => one !== false)
  const figures = [
    guide.weight !== weight && `weight ${guide.weight}`,
    guide.every !== every && `every ${guide.every}`,
    guide.strength !== strength && `strength ${guide.strength}`,
  ]
  const said = `weight ${weight}, every ${every}, strength ${strength}, ${publishedSelfDistance}`
  if (selfGuided) return line(`self-guidance of ${name}`, said, source, [...figures, other && distance, ...more])
  // Borrowed figures are said as such; figures of one's own are compared with nobody's.
  return figures.some((one) => one !== false)
    ? line('self-guidance', publishedSelfDistance, source, [other && distance, ...more])
    : [
        `self-guidance of ${name}: none is published, the figures are those of CelebA, ${said} ` +
          `(${source})${differing.length > 0 ? `, this run with ${differing.join(', ')}` : ''}`,
      ]
}

function boostAndSkip(
  { method, boost, skip }: SampleSettings,
  { boostAndSkip: hint }: SamplingHints,
  name: string,
): string[] {
  if (method !== 'boost-and-skip') return []
  const { boost: gamma, skip: delta, source } = hint ?? unpublished.boostAndSkip
  const said = `boost ${gamma}, skip ${delta}`
  if (hint)
    return line(`Boost-and-Skip of ${name}`, said, source, [
      boost !== gamma && `boost ${boost}`,
      skip !== delta && `skip ${skip}`,
    ])
  return boost === gamma && skip === delta
    ? [`Boost-and-Skip of ${name}: none is published, the figures are those of CelebA, ${said} (${source})`]
    : []
}

function classifier(
  { classifier: used, known }: SampleSettings,
  { classifier: hint }: SamplingHints,
  name: string,
): string[] {
  if (!used || !hint) return []
  return line(`class guidance of ${name}`, `scale ${hint.scale}, ${hint.preset}`, hint.source, [
    used.scale !== hint.scale && `scale ${used.scale}`,
    known.classifier !== hint.preset && (known.classifier ?? 'another classifier'),
  ])
}

function minority({ minority: used, known }: SampleSettings): string[] {
  const hint = hintsOf(known.minority).minority
  if (!used || !hint) return []
  const { backbone, scale, target, source } = hint
  const { target: chosen } = used
  const asked =
    chosen === 'tilt'
      ? 'all levels by their scores (Eq. 18)'
      : chosen === 'rarest'
        ? null
        : chosen[0] === chosen[1]
          ? `level ${chosen[0]}`
          : `levels ${chosen.join(' to ')}`
  return line(
    `minority guidance of ${known.minority}`,
    `scale ${scale}${target === undefined ? '' : `, level ${target}`}${backbone === null ? '' : `, ${backbone}`}`,
    source,
    [
      used.scale !== scale && `scale ${used.scale}`,
      target !== undefined && asked !== null && asked !== `level ${target}` && asked,
      backbone !== null && known.model !== backbone && (known.model ?? 'another model'),
    ],
  )
}

/** Of a second stage; `known`: which published one it is. */
export function upsamplerDepartures(used: UpsamplerSettings | null, known: string | null): string[] {
  const hint = hintsOf(known).respacing
  return used && hint && used.respacing !== hint.steps
    ? line(`second stage, ${known}`, `${hint.steps} steps`, hint.source, [
        used.respacing === null ? 'all steps' : `respacing ${used.respacing}`,
      ])
    : []
}
