/** `tweedie convert`: any checkpoint to safetensors, with what network it holds written into it. */
import { readFile } from 'node:fs/promises'
import {
  convertToSafetensors,
  openCheckpoint,
  openFile,
  writeFileAtomic,
  type Checkpoint,
} from '../../io/index.node.ts'
import {
  checkStateDict,
  configMetadata,
  describeModel,
  parameterCount,
  planOf,
  preset as presetOf,
  stateDictOf,
  readFlags,
} from '../../nn/index.ts'
import { flagsInFile } from '../../nn/flags-file.ts'
import { shapesOf } from '../../nn/state-dict.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { counted } from '../counted.ts'
import { jsonBeside, openWeights } from '../files.ts'
import { flagsOption, weightsOption } from '../options/flags.ts'
import { file, text } from '../option.ts'
import { claimOutputs, inputsOf } from '../outputs.ts'
import { print } from '../print.ts'

const options = {
  config: file({
    value: 'FILE.json',
    help: "the network's configuration, in guided-diffusion's names: of its classes, or flags of its scripts",
    otherwise: 'the .json of the same name beside IN',
  }),
  preset: text({ value: 'NAME', help: 'a published configuration; tweedie info lists them' }),
  flags: flagsOption,
  weights: weightsOption,
}

export const convert: Command<typeof options> = {
  name: 'convert',
  usage: 'IN.pt OUT.safetensors [options]',
  summary: 'turn a PyTorch checkpoint (.pt, .pth) into safetensors, metadata kept',
  options,
  positionals: [2, 2],
  notes: [
    'Only tensors are read: a checkpoint that names any other Python object is refused. Floats become 32 bits ' +
      'wide. OUT may be there already if it holds the same numbers: a conversion with another --preset, say.',
  ],
  examples: [
    'convert 64x64_diffusion.pt 64x64_diffusion.safetensors --preset 64x64_diffusion',
    'convert model.pt model.safetensors --config model.json',
    'convert model.pt model.safetensors --flags "$MODEL_FLAGS"',
  ],
  async run(argv, { signal }) {
    const args = parseArguments(convert, argv)
    const [from, to] = args.positionals as [string, string]
    const given = (['config', 'preset', 'flags'] as const).filter((name) => args.has(name))
    if (given.length > 1) fail(`--${given.join(' and --')} say the same thing: give one of them.`)
    const checkpoint = await openWeights(from, signal, args.get('weights'))
    try {
      await using _ = await claimOutputs({
        command: 'convert',
        inputs: [{ option: 'IN', path: from }, ...inputsOf(args)],
        files: [
          {
            option: 'OUT',
            path: to,
            keeps: async (path) =>
              (await sameNumbers(path, checkpoint, signal)) ? null : `holds other numbers than ${from}`,
          },
        ],
      })
      const preset = args.get('preset')
      const file = args.get('config')
      const json =
        file !== undefined ? await readFile(file, 'utf8') : given.length === 0 ? await jsonBeside(from) : undefined
      const shapes = shapesOf(checkpoint)
      const flags = args.get('flags') ?? (json === undefined ? undefined : flagsInFile(json))
      const flagged =
        flags === undefined ? undefined : describeModel({ ...checkpoint, metadata: {} }, { flags: readFlags(flags) })
      const known = flagged ?? (preset === undefined ? undefined : presetOf(preset))
      const said: Record<string, string> = known
        ? configMetadata(known.config, known.diffusion)
        : json !== undefined
          ? jsonMetadata(json)
          : {}
      const { preset: kept, ...metadata } = { ...checkpoint.metadata, ...said }
      const network =
        metadata.config === undefined
          ? null
          : describeModel({ ...checkpoint, metadata: { ...metadata, ...(kept !== undefined && { preset: kept }) } })
      if (network) checkStateDict(stateDictOf(planOf(network.config)), shapes, from)
      const name = preset ?? network?.preset
      await writeFileAtomic(
        to,
        convertToSafetensors({ ...checkpoint, metadata }, name === undefined ? {} : { preset: name }, { signal }),
        { signal },
      )
      const count = parameterCount(shapes)
      const what = network
        ? name === undefined
          ? ''
          : `, the preset ${name}`
        : '. What network it is was not said (--config, --preset, --flags): say it when you use it'
      print(`${to}: ${counted(checkpoint.tensors.size, 'tensor')}, ${counted(count, 'number')}${what}`)
    } finally {
      await checkpoint.close()
    }
  },
}

/** `config`, `diffusion` and `training` of a `.json` stand side by side in the file's metadata. */
function jsonMetadata(text: string): Record<string, string> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    return fail(`the configuration is no JSON (${(cause as Error).message}).`)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    return fail('the configuration must be a JSON object.')
  const { diffusion, training, ...config } = json as Record<string, unknown>
  return Object.fromEntries(
    Object.entries({ config, diffusion, training })
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, JSON.stringify(value)]),
  )
}

/** Whether a file holds the tensors of a checkpoint: then a conversion over it loses nothing. */
async function sameNumbers(path: string, { tensors }: Checkpoint, signal: AbortSignal): Promise<boolean> {
  const found = await openFile(path)
    .then(openCheckpoint)
    .catch(() => null)
  if (!found) return false
  try {
    if (found.tensors.size !== tensors.size) return false
    for (const [name, entry] of tensors) {
      const other = found.tensors.get(name)
      if (other?.shape.join() !== entry.shape.join()) return false
      const [a, b] = [await entry.read(signal), await other.read(signal)]
      if (a.constructor !== b.constructor || Buffer.compare(bytesOf(a), bytesOf(b)) !== 0) return false
    }
    return true
  } finally {
    await found.close()
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)
