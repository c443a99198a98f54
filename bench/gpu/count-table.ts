/**
 * What the networks' passes ask of a GPU, as the lines of counts.json: counted on a GPU without memory, with WebGPU's
 * default limits and subgroups of 32 lanes. A test holds the file against it.
 */
import { type Command, levelsOf } from './counting-gpu.ts'
import { count, networks, plainKey, type Counted, type Pass } from './passes.ts'

/** Streaming multiprocessors of an H100: fewer workgroups leave some of it idle. */
const multiprocessors = 132

const passes: readonly [pass: Pass, batches: Readonly<Record<string, readonly number[]>>][] = [
  ['forward', { toy: [1, 4, 16], 'ADM-64': [1, 4, 16] }],
  ['step', { toy: [1], 'ADM-64': [1] }],
  ['guided step', { toy: [1, 16], 'ADM-64': [1, 16] }],
  ['eager guided step', { toy: [1], 'ADM-64': [1] }],
  ['training step', { toy: [32], 'ADM-64': [16] }],
]
/** Their ops with arithmetic are listed by shape: batch 1 fills a GPU worst. */
const listed = ['toy eager guided step b1', 'ADM-64 eager guided step b1']

const workgroups = ({ grid: [x, y, z] }: { readonly grid: readonly [number, number, number] }): number => x * y * z
const bytesOf = ({ read, write }: Command): number => [...read, ...write].reduce((sum, { bytes }) => sum + bytes, 0)

function rowOf({ gpu, flops, peakBytes }: Counted): Record<string, number> {
  const of = (...kinds: Command['kind'][]): Command[] => gpu.commands.filter(({ kind }) => kinds.includes(kind))
  const dispatches = of('dispatch')
  return {
    dispatches: dispatches.length,
    narrow: dispatches.filter((dispatch) => workgroups(dispatch) < multiprocessors).length,
    kernels: new Set(dispatches.map(({ kernel }) => kernel)).size,
    copies: of('copy', 'clear').length,
    writes: of('write').length,
    barriers: gpu.barriers,
    levels: levelsOf(gpu.commands),
    submits: gpu.submits,
    objects: gpu.objects,
    GFLOP: Number((flops / 1e9).toFixed(2)),
    MB: Math.round(of('dispatch', 'copy', 'clear').reduce((sum, command) => sum + bytesOf(command), 0) / 1e6),
    peakMB: Math.round(peakBytes / 1e6),
  }
}

/** The ops with arithmetic by shape: how often, and their kernels with the workgroups of each. */
function layersOf({ ops }: Counted): Record<string, string> {
  const layers = new Map<string, number>()
  for (const { op, inputs, kernels } of ops) {
    if (!/^(conv2d|matmul|attention)/.test(op)) continue
    const shapes = inputs.map((shape) => shape.join('x')).join(' ')
    const ran = kernels.map(({ key, grid }) => `${plainKey(key)}: ${grid.join('x')}`).join('; ')
    const layer = `${op} ${shapes} | ${ran}`
    layers.set(layer, (layers.get(layer) ?? 0) + 1)
  }
  return Object.fromEntries(
    [...layers].sort().map(([layer, times]) => {
      const [name, ran] = layer.split(' | ')
      return [name, `${times} of ${ran}`]
    }),
  )
}

/** The whole table as JSON, a line a pass and a line a layer, so that a change of it reads well. */
export async function countTable(): Promise<string> {
  const rows: string[] = []
  const layers: string[] = []
  const line = (name: string, value: unknown): string => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`
  for (const network of Object.keys(networks)) {
    for (const [pass, batches] of passes) {
      for (const batch of batches[network]) {
        const name = `${network} ${pass} b${batch}`
        const counted = await count(networks[network], pass, batch)
        rows.push(line(name, rowOf(counted)).replaceAll(/([:,])(?=["\d])/g, '$1 '))
        if (!listed.includes(name)) continue
        const inside = Object.entries(layersOf(counted)).map(([layer, ran]) => `  ${line(layer, ran)}`)
        layers.push(`    ${JSON.stringify(name)}: {\n${inside.join(',\n')}\n    }`)
      }
    }
  }
  return `{\n  "passes": {\n${rows.join(',\n')}\n  },\n  "layers": {\n${layers.join(',\n')}\n  }\n}\n`
}
