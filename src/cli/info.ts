/** `tweedie info`: the adapters of this machine, and what a checkpoint holds and takes. */
import { TweedieError } from '../errors.ts'
import type { Checkpoint } from '../io/index.node.ts'
import { describeModel, memoryOf, parameterCount, planOf, preset as presetOf, presetNames, stateDictOf, type ModelDescription } from '../nn/index.ts'
import { lpipsNetOf } from '../nn/lpips-plan.ts'
import { listAdapters } from '../tensor/index.ts'
import { parseArguments, type Command } from './arguments.ts'
import { jsonBeside, openWeights } from './files.ts'
import type { Session } from './session.ts'

const options = {
  preset: { value: 'NAME', help: 'what network the checkpoint holds, if it does not say so itself' },
} as const

export const info: Command = {
  name: 'info',
  usage: '[CHECKPOINT] [options]',
  summary: 'show adapters and their limits, or what a checkpoint holds and the memory it takes',
  options,
  positionals: [0, 1],
  examples: ['info', 'info weights/bccd32-adm.safetensors', 'info 64x64_diffusion.pt --preset 64x64_diffusion'],
  async run(argv, session) {
    const args = parseArguments<keyof typeof options>(info, argv)
    const [path] = args.positionals
    if (path === undefined) return showAdapters(session)
    const checkpoint = await openWeights(path, session.signal)
    try {
      await showCheckpoint(path, checkpoint, args.text('preset'))
    } finally {
      await checkpoint.close()
    }
  },
}

const mebibytes = (bytes: number): string => bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(2)} GiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`

const show = (rows: readonly (readonly [string, string])[]): void => rows.forEach(([key, value]) => console.log(`  ${key.padEnd(23)}${value}`))

async function showAdapters({ signal, requestDevice }: Session): Promise<void> {
  const adapters = await listAdapters()
  using device = await requestDevice({ signal })
  for (const { name, vendor, architecture, software, maxBufferBytes, maxBindingBytes, subgroups, halfFloats } of adapters) {
    console.log(`${name}${adapters.length > 1 && name === device.adapter.name ? ' (this one is used)' : ''}`)
    show([
      ['kind', software ? 'software: computed by the CPU, no measure of a GPU' : 'hardware'],
      ['vendor, architecture', [vendor, architecture].filter(Boolean).join(', ') || 'not told'],
      ['largest buffer', mebibytes(maxBufferBytes)],
      ['largest tensor', mebibytes(Math.min(maxBufferBytes, maxBindingBytes))],
      ['subgroups', subgroups ? 'yes' : 'no'],
      ['16-bit floats', halfFloats ? 'yes' : 'no'],
    ])
  }
  console.log(`\nPresets of published models: ${presetNames().join(', ')}`)
}

async function showCheckpoint(path: string, checkpoint: Checkpoint, preset: string | undefined): Promise<void> {
  const shapes = new Map([...checkpoint.tensors].map(([key, { shape }]) => [key, shape]))
  const dtypes = new Map<string, number>()
  for (const { dtype } of checkpoint.tensors.values()) dtypes.set(dtype, (dtypes.get(dtype) ?? 0) + 1)
  console.log(path)
  show([
    ['tensors', `${shapes.size} (${[...dtypes].map(([dtype, count]) => `${count} ${dtype}`).join(', ')})`],
    ['numbers', parameterCount(shapes).toLocaleString('en')],
  ])
  const json = preset === undefined ? await jsonBeside(path) : undefined
  let description: ModelDescription
  try {
    description = describeModel(checkpoint, { ...(preset === undefined ? {} : { preset }), ...(json === undefined ? {} : { json }) })
  } catch (error) {
    if (preset !== undefined || json !== undefined || checkpoint.metadata.config !== undefined) throw error
    return show([['network', guess(shapes, path)]])
  }
  const { config, diffusion } = description
  const equal = presetNames().find((name) => JSON.stringify(sorted(presetOf(name).config)) === JSON.stringify(sorted(config)))
  const inference = memoryOf(config)
  const gradient = memoryOf(config, { gradient: true })
  const { kind, ...fields } = config
  show([
    ['network', `${kind === 'unet' ? ('superResolution' in config && config.superResolution ? 'super-resolution U-Net' : 'U-Net') : 'classifier'}${equal === undefined ? '' : `, the preset ${equal}`}`],
    ...Object.entries(fields).map(([key, value]) => [`  ${key}`, Array.isArray(value) ? value.join(', ') : String(value)] as const),
    ['process', diffusion ? `${diffusion.noiseSchedule}, ${diffusion.diffusionSteps} steps${diffusion.rescaleTimesteps ? ', timesteps rescaled' : ''}` : 'not told: --schedule and --diffusion-steps are needed for sampling'],
    ['memory, one image', `${mebibytes(inference.bytes)} (weights ${mebibytes(inference.weights)}), largest tensor ${mebibytes(inference.largestBuffer)}`],
    ['  with its gradient', `${mebibytes(gradient.bytes)}, largest tensor ${mebibytes(gradient.largestBuffer)}`],
  ])
}

const sorted = (config: object): [string, unknown][] => Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))

/** What a checkpoint without a configuration may be, from its tensors alone. */
function guess(shapes: ReadonlyMap<string, readonly number[]>, path: string): string {
  const fits = presetNames().find((name) => {
    const expected = stateDictOf(planOf(presetOf(name).config))
    return expected.size === shapes.size && [...expected].every(([key, shape]) => shapes.get(key)?.join() === shape.join())
  })
  if (fits !== undefined) return `not told, but its tensors are those of the preset ${fits}: --preset ${fits}`
  try {
    return `LPIPS, ${lpipsNetOf(shapes.keys(), path)}: for --lpips`
  } catch (error) {
    if (!(error instanceof TweedieError)) throw error
    const first = [...shapes.keys()].slice(0, 3).join(', ')
    return `not told, and no published one: put its configuration as .json beside it. First tensors: ${first}`
  }
}
