/** The options of a second stage, which draws large pictures beside the small ones that `--model` drew. */
import { resolve } from 'node:path'
import { fail, type Arguments } from './arguments.ts'

export const upsamplerOptions = {
  upsampler: { value: 'U.safetensors', help: 'draw the samples large by this super-resolution U-Net, plainly; base-0000.png and so on are the small ones' },
  'upsampler-preset': { value: 'NAME', help: 'the published upsampler it is, for a file that does not say so itself' },
  'upsampler-respacing': { value: 'N', help: 'steps of the second stage', default: "the preset's, else all of its training" },
} as const

export type UpsamplerOption = keyof typeof upsamplerOptions

export interface UpsamplerSettings {
  readonly file: string
  readonly preset: string | null
  /** Null: the preset's, else all steps. */
  readonly respacing: string | null
}

export function upsamplerSettings(args: Arguments<UpsamplerOption>): UpsamplerSettings | null {
  if (args.has('upsampler')) return { file: resolve(args.required('upsampler')), preset: args.text('upsampler-preset') ?? null, respacing: args.text('upsampler-respacing') ?? null }
  const idle = (['upsampler-preset', 'upsampler-respacing'] as const).find((name) => args.has(name))
  return idle === undefined ? null : fail(`--${idle} is about --upsampler FILE, which is not given.`)
}

/** The settings in the command line's own words; null: as without the option. */
export const upsamplerToOptions = (settings: UpsamplerSettings | null): Partial<Record<UpsamplerOption, string | null>> =>
  settings === null ? {} : { upsampler: settings.file, 'upsampler-preset': settings.preset, 'upsampler-respacing': settings.respacing }
