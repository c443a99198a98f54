/** What a U-Net and an encoder classifier have in common: the embedding, the input blocks and the middle block. */
import { TweedieError, unexpected } from '../errors.ts'
import { add, embedding, liveOf, now, silu, type Device, type Live, type Tensor } from '../tensor/index.ts'
import { parameter, runBlock, runLinear, type BlockOptions, type Conditioning, type Parameters } from './layers.ts'
import type { Trunk } from './plan.ts'
import { maxPairs, pairsOf, Remembered } from './remembered.ts'
import { timestepEmbedding } from './timestep-embedding.ts'

/** What the residual blocks of a batch are told, from what is `remembered` where that has it. */
export function conditioningOf(
  p: Parameters,
  plan: Trunk,
  batch: Tensor,
  live: Live<ArrayLike<number>>,
  labels: Live<ArrayLike<number>> | undefined,
  remembered: Iterable<Remembered>,
): Conditioning {
  const { device } = batch
  const [n] = batch.shape
  const timesteps = now(live)
  if (typeof timesteps?.length !== 'number')
    throw unexpected('forward', `one timestep for each of the ${n} samples, in an array`, timesteps)
  if (timesteps.length !== n)
    throw new TweedieError('shape', `Expected one timestep for each of the ${n} samples, found ${timesteps.length}.`)
  for (let i = 0; i < n; i++)
    if (!Number.isFinite(timesteps[i])) throw unexpected('forward', 'timesteps that are finite numbers', timesteps[i])
  checkLabels(plan, n, labels === undefined ? labels : now<ArrayLike<number>>(labels))
  const checked = labels && liveOf(labels, (given) => checkLabels(plan, n, given))
  if (typeof checked !== 'function')
    for (const each of remembered) {
      const rows = each.look(device, live, checked)
      if (rows) return rows
    }
  return runEmbedding(p, plan, device, live, n, checked)
}

/**
 * Makes what the residual blocks are told of every one of `timesteps` with every one of the classes `labels`. Null
 * where those are more than are kept, and where labels are lacking or wrong, which the forward pass says better.
 */
export function rememberAll(
  p: Parameters,
  plan: Trunk,
  timesteps: readonly number[],
  labels: ArrayLike<number> | undefined,
): Remembered | null {
  const count = plan.labelEmb?.count ?? 0
  const given: unknown = labels
  if ((plan.labelEmb !== null) !== (given !== undefined) || given === null || typeof (given ?? []) !== 'object')
    return null
  const known = Array.from(labels ?? []).every((label) => Number.isInteger(label) && label >= 0 && label < count)
  const pairs = pairsOf(timesteps, labels)
  if (!known || pairs.length > maxPairs) return null
  const { device } = parameter(p, `${plan.timeEmbed[0].key}.weight`)
  return device.scope(() => {
    const told = pairs.flatMap(({ label }) => label ?? [])
    const embedded = runEmbedding(
      p,
      plan,
      device,
      pairs.map(({ t }) => t),
      pairs.length,
      labels && told,
    )
    return new Remembered(p, plan, pairs, embedded)
  })
}

/** SiLU of the conditioning vector, [N, 4M] (guided-diffusion's `time_embed` and `label_emb`). */
function runEmbedding(
  p: Parameters,
  plan: Trunk,
  device: Device,
  live: Live<ArrayLike<number>>,
  n: number,
  labels: Live<ArrayLike<number>> | undefined,
): Tensor {
  return device.scope(() => {
    const t = device.tensor(
      liveOf(live, (told) => timestepEmbedding(told, plan.modelChannels)),
      [n, plan.modelChannels],
    )
    const [first, second] = plan.timeEmbed
    const time = runLinear(p, second, silu(runLinear(p, first, t)))
    if (!plan.labelEmb || !labels) return silu(time)
    const table = parameter(p, `${plan.labelEmb.key}.weight`)
    return silu(add(time, embedding(table, device.tensor(labels, [n], 'i32'))))
  })
}

function checkLabels<L extends ArrayLike<number> | undefined>(plan: Trunk, n: number, labels: L): L {
  if (!plan.labelEmb) {
    if (labels)
      throw new TweedieError('option', 'This network is unconditional, yet labels were given: leave them out.')
    return labels
  }
  const { count } = plan.labelEmb
  if (labels && typeof labels.length !== 'number')
    throw unexpected('forward', `a label for each of the ${n} samples, in an array`, labels)
  if (!labels || labels.length !== n) {
    throw new TweedieError(
      'option',
      `This network is class-conditional: expected ${n} labels of 0 to ${count - 1}, found ` +
        `${labels ? labels.length : 'none'}.`,
    )
  }
  for (let i = 0; i < n; i++) {
    if (!Number.isInteger(labels[i]) || labels[i] < 0 || labels[i] >= count) {
      throw new TweedieError('option', `Label ${labels[i]} of sample ${i} is not one of the classes 0 to ${count - 1}.`)
    }
  }
  return labels
}

/** The outputs of all input blocks, first to last, then the middle block's. The caller owns them. */
export function runTrunk(
  p: Parameters,
  plan: Trunk,
  x: Tensor,
  emb: Conditioning,
  options: BlockOptions,
): { skips: Tensor[]; middle: Tensor } {
  const skips: Tensor[] = []
  let h = x
  for (const block of plan.inputBlocks) {
    h = runBlock(p, block, h, emb, options)
    skips.push(h)
  }
  return { skips, middle: runBlock(p, plan.middleBlock, h, emb, options) }
}
