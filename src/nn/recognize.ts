/**
 * Which published model a network is. A file says it itself (`__metadata__.preset`, which `fetch`, `convert` and
 * training write; before they did, `fetch` wrote the address it is from). Where it does not, its configuration and
 * process tell, if only one published model has them. Some differ by their weights alone (the LSUN models): then
 * nothing is taken for granted.
 */
import type { DiffusionSettings, ModelConfig } from './config.ts'
import { planOf } from './plan.ts'
import { networkPreset, presetNames } from './presets.ts'
import { stateDictOf } from './state-dict.ts'

/** What the network computes; not how it was trained, nor a field that another overrules. */
function essence({ dropout: _, ...config }: ModelConfig, { outputs }: { outputs: boolean }): string {
  const {
    numHeads,
    numHeadChannels,
    attentionResolutions,
    resblockUpdown,
    convResample,
    outChannels,
    numClasses,
    ...rest
  } = config
  return JSON.stringify(
    Object.entries({
      ...rest,
      attentionResolutions: [...attentionResolutions].sort((a, b) => a - b),
      resblockUpdown,
      convResample: resblockUpdown || convResample,
      // Where the heads' width is given their number follows.
      numHeadChannels,
      numHeads: numHeadChannels === -1 ? numHeads : 1,
      ...(outputs ? { outChannels, numClasses } : {}),
    }).sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}

/** What sampling needs of a process; the rest is said for training. What is off by default may be absent. */
const drawn = ({ learnSigma: _, rescaleLearnedSigmas: __, useKl: ___, ...process }: DiffusionSettings): string =>
  JSON.stringify(
    Object.entries(process)
      .filter(([key, value]) => value !== false && value !== undefined && !(key === 'meanType' && value === 'epsilon'))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )

interface Model {
  readonly config: ModelConfig
  readonly diffusion?: DiffusionSettings
}

/** Whether two descriptions are of one network, and of one process where both tell it. */
export const sameModel = (a: Model, b: Model): boolean =>
  essence(a.config, { outputs: true }) === essence(b.config, { outputs: true }) &&
  (!a.diffusion || !b.diffusion || drawn(a.diffusion) === drawn(b.diffusion))

/**
 * The published models with this network and, where it is told, this process: more than one where they differ by
 * their weights alone.
 */
export function presetsLike(config: ModelConfig, diffusion?: DiffusionSettings): string[] {
  const found = essence(config, { outputs: true })
  return presetNames().filter((name) => {
    const known = networkPreset(name)
    return (
      essence(known.config, { outputs: true }) === found && (!diffusion || drawn(known.diffusion) === drawn(diffusion))
    )
  })
}

/**
 * The published model of that network: the name that its file keeps, where it is that network but for the number of
 * classes and outputs, which are those of the data it was trained on; else the only one of {@link presetsLike}.
 */
export function recognized(
  metadata: Readonly<Record<string, string>>,
  config: ModelConfig,
  diffusion?: DiffusionSettings,
): string | undefined {
  const kept = metadata.preset ?? fetchedName(metadata.source)
  if (
    kept !== undefined &&
    presetNames().includes(kept) &&
    essence(networkPreset(kept).config, { outputs: false }) === essence(config, { outputs: false })
  )
    return kept
  const like = diffusion ? presetsLike(config, diffusion) : []
  return like.length === 1 ? like[0] : undefined
}

/** "lsun_cat" of the address of lsun_cat.pt. */
function fetchedName(source: string | undefined): string | undefined {
  return /"url":\s*"[^"]*\/(\w+)\.pt"/.exec(source ?? '')?.[1]
}

/**
 * The published models with exactly these tensors. That is no proof: heads, the order of q, k and v and the process do
 * not show in tensors, so that a network of one's own may have those of a published one.
 */
export function presetsWith(shapes: ReadonlyMap<string, readonly number[]>): string[] {
  return presetNames().filter((name) => {
    const expected = stateDictOf(planOf(networkPreset(name).config))
    return (
      expected.size === shapes.size && [...expected].every(([key, shape]) => shapes.get(key)?.join() === shape.join())
    )
  })
}
