import { meanTypes } from '../nn/index.ts'
import type { MinorityTarget } from './guidance-minority.ts'
import { targetWish } from './labels.ts'
import type { RunRecord } from './run-record.ts'
import type { SampleSettings } from './sample-settings.ts'
import type { GuideSettings } from './settings.ts'

type Words = Readonly<Record<string, string | number | boolean | null | undefined>>

/**
 * The options of a run in the words of `tweedie sample`, every default filled in: what the command line records of the
 * same run. `loaded`: those of its files and its distance, of which only what the run used is named.
 */
export function runOptions(loaded: Readonly<Record<string, string>>, settings: SampleSettings): RunRecord['options'] {
  const { process, sampler, guide, classes, minority, labels, labelWord } = settings
  const file = (...names: string[]): Words => Object.fromEntries(names.map((name) => [name, loaded[name]]))
  const words: Words = {
    ...file('model', 'preset', 'flags', 'weights'),
    method: settings.method,
    sampler,
    schedule: process.schedule,
    'diffusion-steps': process.diffusionSteps,
    respacing: String(settings.respacing),
    'rescale-timesteps': process.rescaleTimesteps,
    predict: Object.entries(meanTypes).find(([, type]) => type === process.meanType)![0],
    'sigma-small': process.varianceType === 'learnedRange' ? null : process.varianceType === 'fixedSmall',
    'no-clip-denoised': !settings.clipDenoised,
    eta: sampler === 'ddim' ? settings.eta : null,
    labels: labels.length > 0 ? (labelWord ?? labels.join()) : null,
    ...(guide && guideWords(guide)),
    ...(classes && {
      ...file('classifier', 'classifier-preset', 'classifier-weights'),
      target: targetWish(classes.target, settings)?.toString(),
      'classifier-scale': classes.scale,
    }),
    ...(minority && {
      ...file(
        'minority-classifier',
        'minority-preset',
        'minority-weights',
        'extractor',
        'extractor-preset',
        'extractor-weights',
      ),
      'minority-scale': minority.scale,
      ...levelWord(minority.target),
    }),
    ...file('distance', 'lpips', 'features', 'grey-range'),
    boost: settings.boost,
    skip: settings.skip,
    number: settings.number,
    batch: settings.batch,
    seed: settings.seed,
  }
  const said = Object.entries(words).filter(([, word]) => word !== null && word !== undefined)
  return Object.fromEntries(said) as RunRecord['options']
}

const guideWords = ({ weight, every, strength, after, scale, draws, raw, through, clip }: GuideSettings): Words => ({
  'guide-weight': weight,
  'guide-every': every,
  'guide-strength': strength,
  'guide-after': after,
  'guide-scale': scale,
  'guide-draws': draws,
  'guide-raw': raw,
  'guide-through': through,
  'guide-clip': clip,
})

const levelWord = (target: MinorityTarget): Words =>
  target === 'tilt'
    ? { 'minority-tilt': true }
    : { 'minority-target': target === 'rarest' ? target : [...new Set(target)].join('-') }
