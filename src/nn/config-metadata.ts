/**
 * A configuration in guided-diffusion's own words (snake case), as `parseConfig` reads it from a checkpoint's metadata.
 */
import { meanTypes, type DiffusionSettings, type ModelConfig } from './config.ts'

/**
 * `config` and, where given, `diffusion` for the metadata of a checkpoint of this network. `preset`, the name of the
 * published model it is or was made as, stands beside them under its own name.
 *
 * ```ts
 * encodeSafetensors(tensors, configMetadata(model.config, diffusion))
 * ```
 */
export function configMetadata(
  { kind: _, ...fields }: ModelConfig,
  diffusion?: DiffusionSettings,
): { config: string; diffusion?: string } {
  const kept = Object.entries(fields).filter(([key, value]) => !(key === 'superResolution' && value === false))
  return {
    config: JSON.stringify(snake(kept)),
    ...(diffusion ? { diffusion: JSON.stringify(diffusionWords(diffusion)) } : {}),
  }
}

/** Of what a network predicts, the reference has a word for x_0 alone; the others go by ours. */
function diffusionWords({ schedule, meanType, ...rest }: DiffusionSettings): object {
  const name = Object.entries(meanTypes).find(([, type]) => type === meanType)?.[0]
  const predict = meanType === 'xStart' ? { predict_xstart: true } : name === undefined ? {} : { predict: name }
  return { noise_schedule: schedule, ...snake(Object.entries(rest)), ...predict }
}

const snake = (entries: [string, unknown][]): object =>
  Object.fromEntries(entries.map(([key, value]) => [key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]))
