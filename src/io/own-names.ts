/**
 * The names of a checkpoint as its network has them. What wraps a model while it is trained (DataParallel, compile,
 * Lightning, latent diffusion) stands before every name of its state dict, and others keep LPIPS's layers by slices.
 */
import { TweedieError } from '../errors.ts'
import { chosenName, howToChoose, listed, noteOfChoice } from './state-dicts.ts'
import { clipped, printable } from '../printable.ts'

/** What {@link ownNames} reads and gives; `Checkpoint` of the io room is one. */
export interface NamedSource<Entry> {
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, Entry>
  readonly stateDict?: string
  readonly notes?: readonly string[]
}

/** A tensor of every network that we read, by which a prefix is known. */
const firsts: readonly string[] = [
  'time_embed.0.weight',
  'net.slice1.0.weight',
  'features.0.weight',
  'layer1.0.conv1.weight',
  'Mixed_5b.branch1x1.conv.weight',
  'blocks.0.attn.qkv.weight',
]

/**
 * The checkpoint without what stands before the names of its network: `module.`, `_orig_mod.`, `model.`,
 * `model.diffusion_model.` or anything else. Where several networks are in it the average is taken, or the one that
 * `wanted` names by its prefix, or that was chosen when the file was opened. Its `notes` say what was done. Files of
 * our own and of networks that we do not know are left as they are.
 *
 * @throws TweedieError 'option' where it is open which of several is meant, and where none is called `wanted`
 */
export function ownNames<Entry extends { readonly name: string }, Source extends NamedSource<Entry>>(
  checkpoint: Source & NamedSource<Entry>,
  wanted?: string,
): Source {
  if (checkpoint.metadata.kind !== undefined) return checkpoint
  return slicedLpips<Entry, Source>(unwrapped<Entry, Source>(checkpoint, wanted))
}

function unwrapped<Entry extends { readonly name: string }, Source extends NamedSource<Entry>>(
  checkpoint: Source & NamedSource<Entry>,
  wanted: string | undefined,
): Source {
  const { tensors, stateDict = '', name } = checkpoint
  const taken = wanted !== undefined && (stateDict === wanted || stateDict.startsWith(`${wanted}.`))
  const found = wrappings(tensors)
  const names = [...found.keys()]
  const chosen = chosenName(names, taken ? undefined : wanted)
  if (chosen === undefined) {
    if (taken || wanted === undefined) {
      if (names.length < 2) return checkpoint
      throw new TweedieError('option', `${name}: it holds the weights of ${said(names)}: ${howToChoose}.`)
    }
    const known = names.length > 0 ? said(names) : stateDict || 'one state dict without a name'
    throw new TweedieError(
      'option',
      `${name}: expected weights called "${clipped(wanted)}", found ${known} (--weights, in the library stateDict).`,
    )
  }
  if (chosen === '' && names.length === 1) return checkpoint
  const kept = found.get(chosen)!
  const wrapping = chosen === '' ? [] : [`names begin with "${clipped(chosen)}.", which is left out`]
  const left = [...tensors.keys()].filter((key) => !names.some((one) => one !== '' && key.startsWith(`${one}.`)))
  const notes = [
    ...(names.length > 1 ? [noteOfChoice(names.map(shown), shown(chosen))] : wrapping),
    ...(chosen === '' || left.length === 0 ? [] : [`tensors of other names are left out: ${listed(left, 3)}`]),
  ]
  return {
    ...checkpoint,
    tensors: new Map([...kept].map(([key, entry]) => [key, { ...entry, name: key }])),
    notes: [...(checkpoint.notes ?? []), ...notes.map(printable)],
  }
}

const noName = 'those without a prefix'
const shown = (prefix: string): string => prefix || noName
const said = (names: readonly string[]): string => listed(names.map(shown))

/** The networks of a checkpoint by their prefixes (without the dot), each with its tensors under their own names. */
function wrappings<Entry>(tensors: ReadonlyMap<string, Entry>): Map<string, Map<string, Entry>> {
  const keys = [...tensors.keys()]
  const ends = (first: string): string[] => keys.filter((key) => key === first || key.endsWith(`.${first}`))
  const first = firsts.find((one) => ends(one).length > 0)
  const found = new Map<string, Map<string, Entry>>()
  if (first === undefined) return found
  // Nobody has more than a few.
  const prefixes = ends(first)
    .slice(0, 8)
    .map((key) => key.slice(0, -first.length))
  for (const prefix of prefixes) {
    const own = new Map<string, Entry>()
    const inner = prefixes.filter((other) => other !== prefix && other.startsWith(prefix))
    for (const [key, entry] of tensors)
      if (key.startsWith(prefix) && !inner.some((other) => key.startsWith(other)))
        own.set(key.slice(prefix.length), entry)
    found.set(prefix.slice(0, -1), own)
  }
  const average =
    found.size === 1 ? latentAverage(tensors, prefixes[0], found.get(prefixes[0].slice(0, -1))!) : undefined
  if (average) found.set('model_ema', average)
  return found
}

/** Latent diffusion keeps `model.diffusion_model.out.2.bias` averaged as `model_ema.diffusion_modelout2bias`. */
function latentAverage<Entry>(
  tensors: ReadonlyMap<string, Entry>,
  prefix: string,
  raw: ReadonlyMap<string, Entry>,
): Map<string, Entry> | undefined {
  if (!prefix.startsWith('model.')) return undefined
  const average = new Map<string, Entry>()
  for (const key of raw.keys()) {
    const entry = tensors.get(`model_ema.${`${prefix.slice('model.'.length)}${key}`.replaceAll('.', '')}`)
    if (entry === undefined) return undefined
    average.set(key, entry)
  }
  return average
}

/** LPIPS as pip's `lpips` has it, or torchvision's whole network with the lin layers: without what is not used. */
function slicedLpips<Entry extends { readonly name: string }, Source extends NamedSource<Entry>>(
  checkpoint: Source & NamedSource<Entry>,
): Source {
  const { tensors } = checkpoint
  if (!tensors.has('lin0.model.1.weight') || !(tensors.has('net.slice1.0.weight') || tensors.has('features.0.weight')))
    return checkpoint
  const own = new Map<string, Entry>()
  for (const [key, entry] of tensors) {
    const name = key.replace(/^net\.slice\d+\.(?=\d+\.)/, 'features.')
    if (/^(features\.\d|lin\d\.model\.1\.)/.test(name)) own.set(name, { ...entry, name })
  }
  return { ...checkpoint, tensors: own }
}
