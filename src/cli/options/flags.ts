/** What a file that does not say so itself holds, by `--preset` or by flags of scripts; and which of its weights. */
import type { Arguments } from '../arguments.ts'
import type { Told } from '../files.ts'
import { text, type Option } from '../option.ts'

export const flagsOption = text({
  value: '"--image_size 64 …"',
  help:
    "the flags of guided-diffusion's or improved-diffusion's scripts (a README's MODEL_FLAGS) that say what " +
    'it is, instead of --preset',
})

const aboutWeights = {
  value: 'NAME',
  help:
    "which of a file's weights, where it holds several: ema or model, say, or what stands before the names of its " +
    'tensors',
  otherwise: 'the only ones, or the average',
}
export const weightsOption = text(aboutWeights)

/** The same of the file of another option. */
export const aboutWeightsOf = (option: string): typeof aboutWeights => ({
  ...aboutWeights,
  help: `which of the weights in the file of --${option}, as --weights says it of the model`,
})

export const toldOf = (args: Arguments<Record<'preset' | 'flags' | 'weights', Option<string>>>): Told => ({
  preset: args.get('preset'),
  flags: args.get('flags'),
  weights: args.get('weights'),
})
