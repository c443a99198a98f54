/** A configuration in guided-diffusion's own words (snake case), as `parseConfig` reads it from a checkpoint's metadata. */
import type { DiffusionSettings, ModelConfig } from './config.ts'

/**
 * `config` and, where given, `diffusion` for the metadata of a checkpoint of this network.
 *
 * ```ts
 * encodeSafetensors(tensors, configMetadata(model.config, diffusion))
 * ```
 */
export function configMetadata({ kind: _, ...fields }: ModelConfig, diffusion?: DiffusionSettings): { config: string; diffusion?: string } {
  const kept = Object.entries(fields).filter(([key, value]) => !(key === 'superResolution' && value === false))
  return { config: JSON.stringify(snake(kept)), ...(diffusion ? { diffusion: JSON.stringify(snake(Object.entries(diffusion))) } : {}) }
}

const snake = (entries: [string, unknown][]): object =>
  Object.fromEntries(entries.map(([key, value]) => [key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]))
