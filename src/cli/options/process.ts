/** The process of a network on the command line: its options, their one reader, and their words. */
import { meanTypes, type MeanType, type NoiseProcess } from '../../nn/index.ts'
import type { ProcessSettings } from '../../tweedie/settings.ts'
import { fail, type Arguments } from '../arguments.ts'
import { choice, flag, integer, type AnyDefault } from '../option.ts'

const otherwise = "the model file's, then the preset's"

export const noiseOptions = {
  schedule: choice(['cosine', 'linear'], {
    help: 'noise schedule of the training',
    otherwise,
    recorded: ({ process }: ProcessSettings) => process.schedule,
  }),
  'diffusion-steps': integer({
    value: 'T',
    min: 1,
    help: 'steps of the training',
    otherwise,
    recorded: ({ process }: ProcessSettings) => process.diffusionSteps,
  }),
  'rescale-timesteps': flag({
    help: 'the network was trained to see t * 1000 / T',
    otherwise,
    recorded: ({ process }: ProcessSettings) => process.rescaleTimesteps,
  }),
}

/** The noise by options, then as it is `known`. `missing`: why an option is required where nothing is. */
export const noiseIn = (
  args: Arguments<AnyDefault<typeof noiseOptions>>,
  known: NoiseProcess | undefined,
  missing: string,
): NoiseProcess => ({
  schedule: args.get('schedule') ?? known?.schedule ?? args.required('schedule', missing),
  diffusionSteps: args.get('diffusion-steps') ?? known?.diffusionSteps ?? args.required('diffusion-steps', missing),
  rescaleTimesteps: args.get('rescale-timesteps') ?? known?.rescaleTimesteps ?? false,
})

const names = Object.keys(meanTypes) as (keyof typeof meanTypes)[]

export const meanTypeName = (type: MeanType): keyof typeof meanTypes => names.find((name) => meanTypes[name] === type)!

export const parametrizationOptions = {
  predict: choice(names, {
    help:
      'what the network predicts: the noise, x_0, the mean of the previous step, or the ' +
      'velocity v (Salimans & Ho 2022)',
    otherwise: `${otherwise}, else epsilon`,
    recorded: ({ process }: ProcessSettings) => meanTypeName(process.meanType),
  }),
  'predict-xstart': flag({ help: "the same as --predict xstart, in the reference's words" }),
  'sigma-small': flag({
    help:
      'without variance head: the variance of the posterior (FIXED_SMALL), not that of the ' +
      'forward process (FIXED_LARGE)',
    otherwise: "the model file's, else FIXED_LARGE, as the reference's",
    recorded: ({ process: { varianceType } }: ProcessSettings) =>
      varianceType === 'learnedRange' ? null : varianceType === 'fixedSmall',
  }),
}

/** What the options say that the network predicts; undefined: nothing. */
export function meanTypeIn(
  args: Arguments<Pick<typeof parametrizationOptions, 'predict' | 'predict-xstart'>>,
): MeanType | undefined {
  const [name, xStart] = [args.get('predict'), args.get('predict-xstart')]
  const flagged = xStart === undefined ? undefined : xStart ? 'xStart' : 'epsilon'
  if (name === undefined) return flagged
  if (flagged !== undefined && flagged !== meanTypes[name])
    fail(`--predict ${name} contradicts --predict-xstart${xStart ? '' : '=false'}: give one of them.`)
  return meanTypes[name]
}
