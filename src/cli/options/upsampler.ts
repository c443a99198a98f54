/** The options of a second stage, which draws large pictures beside the small ones that `--model` drew. */
import { resolve } from 'node:path'
import { preset as presetOf, type ModelDescription } from '../../nn/index.ts'
import { fail, type Arguments } from '../arguments.ts'
import { file, images, text } from '../option.ts'
import { aboutWeightsOf } from './flags.ts'

export interface UpsamplerSettings {
  readonly file: string
  readonly preset: string | null
  readonly weights: string | null
  /** Null: all steps of its training. */
  readonly respacing: string | null
}

const setting =
  <K extends keyof UpsamplerSettings>(key: K) =>
  ({ upsampler }: { readonly upsampler: UpsamplerSettings | null }) =>
    upsampler?.[key]

export const upsamplerOptions = {
  upsampler: file({
    value: 'U.safetensors',
    called: 'the second stage',
    help: 'draw the samples large by this super-resolution U-Net, plainly; base-0000.png and so on are the small ones',
    recorded: setting('file'),
  }),
  'upsampler-preset': text({
    value: 'NAME',
    help: 'the published upsampler it is, for a file that does not say so itself',
    recorded: setting('preset'),
  }),
  'upsampler-weights': text({ ...aboutWeightsOf('upsampler'), recorded: setting('weights') }),
  'upsampler-respacing': text({
    value: 'N',
    help: 'steps of the second stage',
    otherwise: 'the published ones, else all of its training',
    recorded: setting('respacing'),
  }),
  'base-samples': images({
    value: 'DATA',
    called: 'the small pictures',
    help:
      'small pictures for --upsampler instead of those of a --model (super_res_sample.py): a folder, or an .npz with ' +
      'arr_0, and the classes in arr_1',
    recorded: ({ baseSamples }: { readonly baseSamples: string | null }) => baseSamples,
  }),
}

/** `file`: what the upsampler is, where it can be told. */
export function upsamplerSettings(
  args: Arguments<typeof upsamplerOptions>,
  file?: ModelDescription,
): UpsamplerSettings | null {
  if (args.has('upsampler')) {
    const published = file?.preset === undefined ? undefined : presetOf(file.preset).sampling.respacing?.steps
    return {
      file: resolve(args.required('upsampler')),
      preset: args.get('upsampler-preset') ?? null,
      weights: args.get('upsampler-weights') ?? null,
      respacing: (args.get('upsampler-respacing') ?? published) || null,
    }
  }
  const idle = (['upsampler-preset', 'upsampler-weights', 'upsampler-respacing', 'base-samples'] as const).find(
    (name) => args.has(name),
  )
  return idle === undefined ? null : fail(`--${idle} is about --upsampler FILE, which is not given.`)
}

/**
 * What a record of a run says, with the steps that were meant where it says none: today those are all steps; before
 * they were written down, those that were published for --upsampler-preset, if it was given.
 */
export function withUpsamplerSteps(
  options: Readonly<Record<string, string | number | boolean>>,
): Readonly<Record<string, string | number | boolean>> {
  const { upsampler, 'upsampler-preset': preset, 'upsampler-respacing': respacing } = options
  const published =
    upsampler === undefined || respacing !== undefined || preset === undefined
      ? undefined
      : presetOf(String(preset)).sampling.respacing?.steps
  return published === undefined ? options : { ...options, 'upsampler-respacing': published }
}
