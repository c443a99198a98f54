/** What a file that does not say so itself holds, by `--preset` or by the flags of the scripts that trained it. */
import type { Arguments } from '../arguments.ts'
import type { Told } from '../files.ts'

export const flagsOption = {
  value: '"--image_size 64 …"', help: "the flags of guided-diffusion's or improved-diffusion's scripts (a README's MODEL_FLAGS) that say what it is, instead of --preset",
} as const

export const toldOf = (args: Arguments<'preset' | 'flags'>): Told => ({ preset: args.text('preset'), flags: args.text('flags') })
