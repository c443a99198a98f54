/**
 * The levels of a network that get attention, beside the smallest, whose middle block always has it. On the
 * command line they are named by the side of their maps, as in guided-diffusion's flags; in a configuration by
 * their downsample rate.
 */
import { join } from 'node:path'
import { exists } from '../../io/file.node.ts'
import { levelRates, parseConfig } from '../../nn/index.ts'
import { runOfState } from '../../train/index.ts'
import { fail } from '../arguments.ts'
import { openWeights } from '../files.ts'
import { integersKind, optionOf, type Kind } from '../option.ts'
import { tell } from '../print.ts'

/** `16,8` or `none`. */
const sides: Kind<readonly number[]> = {
  read: (word, name) => (word === 'none' ? [] : integersKind.read(word, name)),
  write: (value) => integersKind.write(value) || 'none',
}

/** The sides of the maps that get attention. */
export const attentionOption = optionOf(sides, {
  value: '16,8|none',
  help: 'sides of the maps that get attention',
  otherwise: '8, or the largest level below it, or the smallest of all',
})

/**
 * Rates for the sides that the option `name` says, or by default. `before`: those of the run that goes on, whose
 * default was another until November 2026. Refuses a side that no level has, with those there are.
 */
export function attentionRates(
  name: string,
  wanted: readonly number[] | undefined,
  { imageSize, channelMult }: { imageSize: number; channelMult: number[] },
  before: readonly number[] | null,
): number[] {
  const rates = levelRates({ channelMult })
  // What cannot be halved so often is refused with the whole configuration.
  if (imageSize % rates.at(-1)! !== 0) return []
  const sides = rates.map((rate) => imageSize / rate)
  if (wanted === undefined && before) return [...before]
  if (wanted === undefined) {
    const side = sides.find((one) => one <= 8) ?? sides.at(-1)!
    if (side !== 8) tell(`note: attention at maps of side ${side}; --${name} chooses others of ${sides.join(', ')}.`)
    return [imageSize / side]
  }
  const nowhere = wanted.filter((side) => !sides.includes(side))
  if (nowhere.length > 0)
    fail(`--${name}: no level has maps of side ${nowhere.join(' or ')}: the levels have ${sides.join(', ')} (or none).`)
  return wanted.map((side) => imageSize / side)
}

/** Rates of the run in `out` that --resume goes on with, null where there is none. */
export async function attentionBefore(
  { out, resume }: { out: string; resume: boolean },
  signal: AbortSignal,
): Promise<number[] | null> {
  const path = join(out, 'state.safetensors')
  if (!resume || !(await exists(path))) return null
  const state = await openWeights(path, signal)
  try {
    const { config } = runOfState(state)
    return typeof config === 'string' ? parseConfig(config, new Map()).config.attentionResolutions : null
  } finally {
    await state.close()
  }
}
