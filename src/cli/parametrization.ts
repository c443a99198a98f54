/** What a network predicts and which variance it is sampled with, where it has no head for that: options and their words. */
import { meanTypes, type MeanType } from '../nn/index.ts'
import { fail, type Arguments } from './arguments.ts'

const names = Object.keys(meanTypes) as (keyof typeof meanTypes)[]

export const parametrizationOptions = {
  predict: { value: names.join('|'), help: 'what the network predicts: the noise, x_0, the mean of the previous step, or the velocity v (Salimans & Ho 2022)', default: "the model file's, then the preset's, else epsilon" },
  'predict-xstart': { help: 'the same as --predict xstart, in the reference\'s words' },
  'sigma-small': { help: 'without variance head: the variance of the posterior (FIXED_SMALL), not that of the forward process (FIXED_LARGE)', default: "the model file's, else FIXED_LARGE, as the reference's" },
} as const

/** What the options say that the network predicts; undefined: nothing. */
export function meanTypeIn(args: Arguments<'predict' | 'predict-xstart'>): MeanType | undefined {
  const [name, flag] = [args.choice('predict', names), args.flag('predict-xstart')]
  const flagged = flag === undefined ? undefined : flag ? 'xStart' : 'epsilon'
  if (name === undefined) return flagged
  if (flagged !== undefined && flagged !== meanTypes[name]) fail(`--predict ${name} contradicts --predict-xstart${flag ? '' : '=false'}: give one of them.`)
  return meanTypes[name]
}

export const meanTypeName = (type: MeanType): string => names.find((name) => meanTypes[name] === type)!
