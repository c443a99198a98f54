/** The process of a network on the command line: its options, their one reader, and their words. */
import { meanTypes, type MeanType, type NoiseProcess } from '../../nn/index.ts'
import { fail, type Arguments } from '../arguments.ts'

const names = Object.keys(meanTypes) as (keyof typeof meanTypes)[]

export const noiseOptions = {
  schedule: { value: 'cosine|linear', help: 'noise schedule of the training', default: "the model file's, then the preset's" },
  'diffusion-steps': { value: 'T', help: 'steps of the training', default: "the model file's, then the preset's" },
  'rescale-timesteps': { help: 'the network was trained to see t * 1000 / T', default: "the model file's, then the preset's" },
} as const

export const parametrizationOptions = {
  predict: { value: names.join('|'), help: 'what the network predicts: the noise, x_0, the mean of the previous step, or the velocity v (Salimans & Ho 2022)', default: "the model file's, then the preset's, else epsilon" },
  'predict-xstart': { help: 'the same as --predict xstart, in the reference\'s words' },
  'sigma-small': { help: 'without variance head: the variance of the posterior (FIXED_SMALL), not that of the forward process (FIXED_LARGE)', default: "the model file's, else FIXED_LARGE, as the reference's" },
} as const

export interface NoiseReading {
  /** The fewest steps of a process. */
  readonly least: number
  /** What --rescale-timesteps says. */
  readonly rescaled?: boolean | undefined
  /** Why an option is required where nothing is known. */
  readonly missing?: string
}

/** The noise by options, then as it is `known`. */
export function noiseIn(args: Arguments<'schedule' | 'diffusion-steps'>, known: NoiseProcess | undefined, { least, rescaled, missing = '' }: NoiseReading): NoiseProcess {
  const required = (name: keyof typeof noiseOptions): never => fail(`--${name} is required${missing}.`)
  return {
    schedule: args.choice('schedule', ['cosine', 'linear']) ?? known?.schedule ?? required('schedule'),
    diffusionSteps: args.integer('diffusion-steps', { min: least }) ?? known?.diffusionSteps ?? required('diffusion-steps'),
    rescaleTimesteps: rescaled ?? known?.rescaleTimesteps ?? false,
  }
}

/** What the options say that the network predicts; undefined: nothing. */
export function meanTypeIn(args: Arguments<'predict' | 'predict-xstart'>): MeanType | undefined {
  const [name, flag] = [args.choice('predict', names), args.flag('predict-xstart')]
  const flagged = flag === undefined ? undefined : flag ? 'xStart' : 'epsilon'
  if (name === undefined) return flagged
  if (flagged !== undefined && flagged !== meanTypes[name]) fail(`--predict ${name} contradicts --predict-xstart${flag ? '' : '=false'}: give one of them.`)
  return meanTypes[name]
}

export const meanTypeName = (type: MeanType): string => names.find((name) => meanTypes[name] === type)!
