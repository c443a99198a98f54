/**
 * What residual blocks are told of the time, for all steps of a walk at once. It depends on the timestep and the class
 * alone, so every block's projection of the embedding is one product [R, 4M] x [4M, 2C] for the R pairs of both that
 * will come up, and a step only picks rows: in ADM-64 that is one kernel instead of 70, most of which hold some ten
 * numbers a core of a GPU.
 */
import { partAlignment } from '../tensor/backend.ts'
import { embedding, linear, now, type Device, type Live, type Tensor } from '../tensor/index.ts'
import { layOut } from '../tensor/ops/copy.ts'
import { parameter, type Parameters } from './layers.ts'
import type { ResBlockLayer, Trunk } from './plan.ts'

/** Rows are picked in runs of as many numbers: channels come in 32 groups. */
const run = 32
/** In runs: where a block's numbers may begin. */
const alignment = partAlignment / 4 / run
/** As many as the longest walk has steps: of more pairs each step computes its own. */
export const maxPairs = 1000

/** At most so many pairs of timestep and class are remembered for a walk of `steps` steps with `batch` samples. */
export const mostPairs = (numClasses: number | null, steps: number, batch: number): number =>
  Math.min(maxPairs, steps * (numClasses === null ? 1 : batch))

/** Numbers in one table: 64 MiB, half of what a kernel sees of a buffer on every device. */
const tableSize = 2 ** 24

/** What a residual block is told, by its key: [N, 2C] or [N, C]. */
export type Rows = ReadonlyMap<string, Tensor>

/** The residual blocks of a plan. */
const blocksOf = (plan: Trunk): ResBlockLayer[] => {
  const { outputBlocks = [] } = plan as { outputBlocks?: Trunk['inputBlocks'] }
  return [...plan.inputBlocks, plan.middleBlock, ...outputBlocks].flat().filter((layer) => layer.type === 'resblock')
}

/** Numbers that a block is told of a sample. */
const featuresOf = ({ outChannels, scaleShift }: ResBlockLayer): number => (scaleShift ? 2 : 1) * outChannels

/** Bytes of what is told of a pair of timestep and class. */
export const pairBytes = (plan: Trunk): number => 4 * blocksOf(plan).reduce((sum, block) => sum + featuresOf(block), 0)

/** A table, [V, run], and the blocks whose rows are in it one after another. */
interface Table {
  readonly table: Tensor
  readonly blocks: readonly { readonly key: string; readonly runs: number; readonly first: number }[]
}

/** Rows of all blocks for pairs of timestep and class. */
export class Remembered {
  readonly #rowOf: ReadonlyMap<string, number>
  readonly #tables: readonly Table[]
  /** What they were made from, with the version that it had. */
  readonly #from: readonly { readonly tensor: Tensor; readonly version: number }[]

  /** `embedded` [R, 4M]: SiLU of the embedding of `pairs`. */
  constructor(p: Parameters, plan: Trunk, pairs: readonly Pair[], embedded: Tensor) {
    const { device } = embedded
    const rows = pairs.length
    this.#rowOf = new Map(pairs.map((pair, row) => [nameOf(pair), row]))
    const blocks = blocksOf(plan)
    this.#tables = device.scope(() => {
      const tables: Table[] = []
      for (const group of groupsOf(blocks, rows)) {
        const made = group.map(({ key }) => linear(embedded, ...projection(p, key)))
        let first = 0
        const placed = group.map((block) => {
          const runs = featuresOf(block) / run
          first += runs * rows
          return { key: block.key, runs, first: first - runs * rows }
        })
        const table = layOut(
          made,
          placed.map((block) => block.first * run),
          first * run,
        )
        for (const tensor of made) tensor.dispose()
        tables.push({ table: device.keep(table.alias([first, run])), blocks: placed })
      }
      return tables
    })
    const keys = [...plan.timeEmbed, ...blocks.map(({ key }) => ({ key: `${key}.emb_layers.1` }))].map(({ key }) => key)
    const parameters = [...p].filter(([name]) => keys.some((key) => name === `${key}.weight` || name === `${key}.bias`))
    if (plan.labelEmb) parameters.push(['', parameter(p, `${plan.labelEmb.key}.weight`)])
    this.#from = parameters.map(([, tensor]) => ({ tensor, version: tensor.storage.version }))
  }

  /** Whether it holds for the network as it is, and no gradient by what it is made from is wanted. */
  #holds(device: Device): boolean {
    return this.#from.every(
      ({ tensor, version }) =>
        !tensor.disposed && tensor.storage.version === version && !device.tape?.watches(tensor.id),
    )
  }

  /** The rows of a batch, the scope's; null where there is one that is not remembered. */
  look(device: Device, live: Live<ArrayLike<number>>, labels: ArrayLike<number> | undefined): Rows | null {
    const rowsAt = (timesteps: ArrayLike<number>): number[] =>
      Array.from(timesteps, (t, i) => this.#rowOf.get(nameOf({ t, label: labels?.[i] })) ?? -1)
    const at = rowsAt(now(live))
    if (at.includes(-1) || !this.#holds(device)) return null
    const found = new Map<string, Tensor>()
    for (const { table, blocks } of this.#tables) {
      const starts: number[] = []
      let size = 0
      for (const { runs } of blocks) {
        starts.push(size)
        size += Math.ceil((runs * at.length) / alignment) * alignment
      }
      const indices = (rows: readonly number[]): Int32Array => {
        const index = new Int32Array(size)
        blocks.forEach(({ runs, first }, b) => {
          let next = starts[b]
          for (const row of rows) for (let k = 0; k < runs; k++) index[next++] = first + row * runs + k
        })
        return index
      }
      const index = device.tensor(
        typeof live === 'function' ? () => indices(rowsAt(live())) : indices(at),
        [size],
        'i32',
      )
      const picked = embedding(table, index)
      blocks.forEach(({ key, runs }, b) => {
        found.set(key, device.track(picked.part(starts[b] * run, [at.length, runs * run])))
      })
    }
    return found
  }

  dispose(): void {
    for (const { table } of this.#tables) table.dispose()
  }
}

/** A timestep as the network is told it, and a class where it is told one. */
export interface Pair {
  readonly t: number
  readonly label?: number | undefined
}

const nameOf = ({ t, label }: Pair): string => `${t} ${label ?? ''}`

/** Every timestep with every class of `labels`. */
export function pairsOf(timesteps: readonly number[], labels: ArrayLike<number> | undefined): Pair[] {
  const classes = labels === undefined ? [undefined] : [...new Set(Array.from(labels))]
  return [...new Set(timesteps)].flatMap((t) => classes.map((label) => ({ t, label })))
}

const projection = (p: Parameters, key: string): [weight: Tensor, bias: Tensor] => [
  parameter(p, `${key}.emb_layers.1.weight`),
  parameter(p, `${key}.emb_layers.1.bias`),
]

/** Blocks whose rows fit into a table, in order. */
function groupsOf(blocks: readonly ResBlockLayer[], rows: number): ResBlockLayer[][] {
  const groups: ResBlockLayer[][] = []
  let size = Infinity
  for (const block of blocks) {
    const own = rows * featuresOf(block)
    if (size + own > tableSize) {
      groups.push([])
      size = 0
    }
    groups.at(-1)?.push(block)
    size += own
  }
  return groups
}
