/** What a file that does not say so itself holds, by `--preset` or by the flags of the scripts that trained it. */
import type { Arguments } from '../arguments.ts'
import type { Told } from '../files.ts'
import { text, type Option } from '../option.ts'

export const flagsOption = text({
  value: '"--image_size 64 …"',
  help:
    "the flags of guided-diffusion's or improved-diffusion's scripts (a README's MODEL_FLAGS) that say what " +
    'it is, instead of --preset',
})

export const toldOf = (args: Arguments<Record<'preset' | 'flags', Option<string>>>): Told => ({
  preset: args.get('preset'),
  flags: args.get('flags'),
})
