import { networkPreset, type NetworkPreset } from './presets.ts'
import { published, type SamplingHints } from './published.ts'

/**
 * A published configuration: the network, the process it was trained with, and what its authors published about
 * sampling from it.
 */
export interface Preset extends NetworkPreset {
  sampling: SamplingHints
}

/**
 * A published configuration by name. The result is the caller's own: changing it changes no other.
 * @throws TweedieError 'option' for an unknown name, with the nearest one
 * @example stateDictOf(planOf(preset('64x64_diffusion').config)).size // 541
 */
export const preset = (name: string): Preset => ({
  ...networkPreset(name),
  sampling: structuredClone(published[name] ?? {}),
})
