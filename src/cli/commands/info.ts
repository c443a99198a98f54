/** `tweedie info`: what can compute on this machine, and what a checkpoint holds and takes. */
import { processOf } from '../../diffusion/index.ts'
import { TweedieError } from '../../errors.ts'
import type { Checkpoint } from '../../io/index.node.ts'
import {
  checkStateDict,
  describeModel,
  memoryOf,
  noiseInWords,
  parameterCount,
  planOf,
  preset as presetOf,
  presetNames,
  presetsLike,
  presetsWith,
  publishedSelfDistance,
  stateDictOf,
  type DiffusionProcess,
  type ModelDescription,
  readFlags,
} from '../../nn/index.ts'
import { lpipsNetOf } from '../../nn/lpips-plan.ts'
import { shapesOf } from '../../nn/state-dict.ts'
import { listed } from '../../io/state-dicts.ts'
import { toldByFile } from '../../tweedie/model-file.ts'
import { listAdapters, type AdapterDescription, type AdapterListing } from '../../tensor/index.ts'
import { modelOfState } from '../../train/index.ts'
import { parseArguments, type Command } from '../arguments.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { jsonBeside, openWeights, type Told } from '../files.ts'
import { flagsOption, toldOf, weightsOption } from '../options/flags.ts'
import { modelRows, stateRows } from './info-training.ts'
import { text } from '../option.ts'
import { meanTypeName } from '../options/process.ts'
import type { Session } from '../session.ts'
import { print } from '../print.ts'

const options = {
  preset: text({ value: 'NAME', help: 'what network the checkpoint holds, if it does not say so itself' }),
  flags: flagsOption,
  weights: weightsOption,
  ...deviceOptions,
}

export const info: Command<typeof options> = {
  name: 'info',
  usage: '[CHECKPOINT] [options]',
  summary: 'show what can compute here, with its limits, or what a checkpoint holds and the memory it takes',
  options,
  positionals: [0, 1],
  examples: ['info', 'info runs/faces/ema-0.9999.safetensors', 'info 64x64_diffusion.pt --preset 64x64_diffusion'],
  async run(argv, session) {
    const args = parseArguments(info, argv)
    const [path] = args.positionals
    const chosen = onDevice(session, args)
    if (path === undefined) return showDevices(chosen)
    const checkpoint = await openWeights(path, session.signal, args.get('weights'))
    try {
      await showCheckpoint(path, checkpoint, toldOf(args))
    } finally {
      await checkpoint.close()
    }
  },
}

const mebibytes = (bytes: number): string =>
  bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(2)} GiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`

const show = (rows: readonly (readonly [string, string])[]): void =>
  rows.forEach(([key, value]) => print(`  ${key.padEnd(23)}${value}`))

async function showDevices({ signal, requestDevice }: Session): Promise<void> {
  const found: readonly AdapterListing[] | TweedieError = await listAdapters().catch((error: unknown) =>
    error instanceof TweedieError ? error : Promise.reject(error),
  )
  using used = await requestDevice({ signal })
  using cpu = await requestDevice({ signal, backend: 'cpu' })
  const head = (name: string): void => print(`${name}${name === used.adapter.name ? ' (this one is used)' : ''}`)
  const limit = ({ maxBufferBytes, maxBindingBytes }: AdapterDescription): string =>
    mebibytes(Math.min(maxBufferBytes, maxBindingBytes))
  for (const adapter of found instanceof TweedieError ? [] : found) {
    head(adapter.name)
    show([
      [
        'kind',
        adapter.software
          ? 'WebGPU in software: computed by the CPU, slower than its own backend and no measure of a GPU'
          : 'WebGPU in hardware',
      ],
      ['vendor, architecture', [adapter.vendor, adapter.architecture].filter(Boolean).join(', ') || 'not told'],
      ['largest buffer', mebibytes(adapter.maxBufferBytes)],
      ['largest tensor', limit(adapter)],
      ['subgroups', adapter.subgroups ? 'yes' : 'no'],
      ['16-bit floats', adapter.halfFloats ? 'yes' : 'no'],
      ['clock for kernels', adapter.timestamps ? 'yes' : 'no'],
      ['workgroup memory', `${adapter.workgroupBytes / 1024} KiB`],
    ])
  }
  head(cpu.adapter.name)
  show([
    ['kind', 'the CPU backend, WebAssembly'],
    ['all tensors together', `at most ${limit(cpu.adapter)}`],
  ])
  if (found instanceof TweedieError) print(`\nNo WebGPU: ${found.message}`)
  else if (found.every(({ software }) => software)) print('\nNo GPU found.')
  print(`\nPresets of published models: ${presetNames().join(', ')}`)
}

async function showCheckpoint(path: string, checkpoint: Checkpoint, told: Told): Promise<void> {
  const shapes = shapesOf(checkpoint)
  const dtypes = new Map<string, number>()
  for (const { dtype } of checkpoint.tensors.values()) dtypes.set(dtype, (dtypes.get(dtype) ?? 0) + 1)
  print(path)
  show([
    ['tensors', `${shapes.size} (${[...dtypes].map(([dtype, count]) => `${count} ${dtype}`).join(', ')})`],
    ['numbers', parameterCount(shapes).toLocaleString('en')],
  ])
  const trained = modelOfState(checkpoint)
  if (trained) show(stateRows(checkpoint))
  await showNetwork(path, trained ?? checkpoint, told)
}

async function showNetwork(path: string, checkpoint: Checkpoint, { preset, flags }: Told): Promise<void> {
  const shapes = shapesOf(checkpoint)
  if (checkpoint.metadata.kind === 'features')
    return show([['network', 'feature net: for --features'], ...modelRows(checkpoint)])
  const json = preset === undefined && flags === undefined ? await jsonBeside(path) : undefined
  let description: ModelDescription
  try {
    description = describeModel(checkpoint, {
      ...(preset !== undefined && { preset }),
      ...(flags !== undefined && { flags: readFlags(flags) }),
      ...(json !== undefined && toldByFile(json)),
    })
  } catch (error) {
    if (preset !== undefined || flags !== undefined || json !== undefined || checkpoint.metadata.config !== undefined)
      throw error
    return show([['network', guess(shapes, path)]])
  }
  const { config, diffusion } = description
  checkStateDict(stateDictOf(planOf(config)), shapes, path)
  const like = presetsLike(config, diffusion)
  const whose =
    description.preset !== undefined
      ? `, the preset ${description.preset}`
      : like.length > 0
        ? `, that of the presets ${like.join(', ')}: --preset says which`
        : ''
  const inference = memoryOf(config)
  const gradient = memoryOf(config, { gradient: true })
  const { kind, ...fields } = config
  const enlarges = 'superResolution' in config && config.superResolution
  const network = kind === 'classifier' ? kind : enlarges ? 'super-resolution U-Net' : 'U-Net'
  show([
    ['network', `${network}${whose}`],
    ...Object.entries(fields).map(
      ([key, value]) => [`  ${key}`, Array.isArray(value) ? value.join(', ') : String(value)] as const,
    ),
    [
      'process',
      diffusion ? noiseInWords(diffusion) : 'not told: --schedule and --diffusion-steps are needed for sampling',
    ],
    ...(diffusion && kind === 'unet' ? [['  predicts', predicted(processOf(description))] as const] : []),
    ...publishedRows(description.preset),
    ...modelRows(checkpoint),
    [
      'memory, one image',
      `${mebibytes(inference.bytes)} (weights ${mebibytes(inference.weights)}), largest tensor ` +
        `${mebibytes(inference.largestBuffer)}`,
    ],
    ['  with its gradient', `${mebibytes(gradient.bytes)}, largest tensor ${mebibytes(gradient.largestBuffer)}`],
  ])
}

/** What a U-Net predicts, and the variance it is sampled with. */
function predicted({ meanType, varianceType }: DiffusionProcess): string {
  const variance = {
    learnedRange: 'variance learned',
    learned: 'variance learned',
    fixedLarge: 'variance FIXED_LARGE',
    fixedSmall: 'variance FIXED_SMALL',
  }[varianceType]
  return `${meanTypeName(meanType)}, ${variance}`
}

/** What was published for it, which `sample` takes where it is not told otherwise. */
function publishedRows(name: string | undefined): (readonly [string, string])[] {
  if (name === undefined) return []
  const { respacing, classifier, selfGuided, boostAndSkip, minority } = presetOf(name).sampling
  const row = <T extends { source: string }>(what: string, hint: T | undefined, text: (hint: T) => string) =>
    hint ? [[`published ${what}`, `${text(hint)} (${hint.source})`] as const] : []
  return [
    ...row('steps', respacing, ({ steps }) => steps),
    ...row('class guidance', classifier, ({ preset, scale }) => `scale ${scale}, ${preset}`),
    ...row(
      'self-guidance',
      selfGuided,
      ({ weight, every, strength }) =>
        `weight ${weight}, every ${every}, strength ${strength}, ${publishedSelfDistance}`,
    ),
    ...row('boost and skip', boostAndSkip, ({ boost, skip }) => `${boost}, ${skip}`),
    ...row('guidance', minority, ({ scale, target, backbone, featureExtractor }) =>
      [
        `scale ${scale}`,
        ...(target === undefined ? [] : [`level ${target}`]),
        ...(backbone ? [`of ${backbone}`] : []),
        ...(featureExtractor ? [`on ${featureExtractor}`] : []),
      ].join(', '),
    ),
  ]
}

/** What a checkpoint without a configuration may be, from its tensors alone. */
function guess(shapes: ReadonlyMap<string, readonly number[]>, path: string): string {
  const fits = presetsWith(shapes)
  if (fits.length > 0)
    return (
      `not told, but its tensors are those of ${fits.length > 1 ? 'the presets' : 'the preset'} ` +
      `${fits.join(', ')}: --preset ${fits.length > 1 ? 'says which' : fits[0]}`
    )
  try {
    return `LPIPS, ${lpipsNetOf(shapes.keys(), path)}: for --lpips`
  } catch (error) {
    if (!(error instanceof TweedieError)) throw error
    const first = listed([...shapes.keys()], 3)
    return (
      'not told, and no published one: --flags "$MODEL_FLAGS" or a .json beside it says ' +
      `it. First tensors: ${first}`
    )
  }
}
