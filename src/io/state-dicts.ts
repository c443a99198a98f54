/** Which of the state dicts of a PyTorch file are its weights. */
import { TweedieError } from '../errors.ts'
import { clipped, printable } from '../printable.ts'
import { OtherTensor, TorchTensor } from './torch-objects.ts'

/** The chosen dictionary, and what is to be told of the choice. */
export interface StateDict {
  /** Where it stands in the file, `ema` or `ema.module`; empty: it is the file. */
  readonly name: string
  readonly tensors: ReadonlyMap<string, TorchTensor>
  readonly notes: readonly string[]
}

/** How averages of weights are called: `ema`, `state_dict_ema`, `ema_model`, `swa`. */
export const isAverage = (name: string): boolean => /(^|[^a-z])(ema|swa|averaged?)([^a-z]|$)/i.test(name)

/** What says which weights are meant. */
export const howToChoose = "--weights NAME says which (in the library: { stateDict: 'NAME' })"

/**
 * The one of `names` that is meant: `wanted`, or the only one, or the only average among them. Undefined where that is
 * open, or `wanted` is none of them.
 */
export function chosenName(names: readonly string[], wanted?: string): string | undefined {
  const fitting =
    wanted === undefined ? names : names.filter((name) => name === wanted || name.startsWith(`${wanted}.`))
  if (fitting.length < 2) return fitting[0]
  const exact = fitting.filter((name) => name === wanted)
  const averages = exact.length === 1 ? exact : fitting.filter(isAverage)
  return averages.length === 1 ? averages[0] : undefined
}

/** "ema of model and ema", where there was a choice. */
export function noteOfChoice(names: readonly string[], chosen: string): string {
  const others = names.filter((name) => name !== chosen)
  return (
    `it holds several state dicts; ${clipped(chosen)}${isAverage(chosen) ? ', the average,' : ''} is taken, and ` +
    `${listed(others)} ${others.length === 1 ? 'is' : 'are'} left: ${howToChoose}`
  )
}

/** A few of them. */
export const listed = (names: readonly string[], most = 8): string =>
  names
    .slice(0, most)
    .map((name) => clipped(name, 60))
    .join(', ') + (names.length > most ? ` and ${names.length - most} more` : '') || 'none'

/**
 * The weights in what a file holds: the dictionary of tensors that it is, or the one in it that `wanted` names; without
 * a name the only one, or the average.
 * @throws TweedieError 'format' where there is none; 'option' where it is open which is meant
 */
export function selectStateDict(root: unknown, file: string, wanted?: string): StateDict {
  if (isStateDict(root)) return { name: '', ...readable(root) }
  const found = dictsIn(root)
  const names = [...found.keys()]
  const chosen = chosenName(names, wanted) ?? (wanted === undefined ? undefined : chosenName(names))
  if (chosen === undefined) throw noStateDict(root, names, file)
  const { tensors, notes } = readable(found.get(chosen)!)
  const top = root instanceof Map ? [...root.keys()].filter((key): key is string => typeof key === 'string') : []
  const average = isAverage(chosen)
    ? undefined
    : top.find((key) => isAverage(key) && !names.some((name) => isAverage(name)))
  return {
    name: chosen,
    tensors,
    notes: [
      ...(names.length > 1 ? [noteOfChoice(names, chosen)] : []),
      ...(average === undefined
        ? []
        : [
            `it has an average of the weights as well, ${clipped(average)}, which is no dictionary of tensors: ` +
              `${chosen}, which is not averaged, is taken`,
          ]),
      ...notes,
    ].map(printable),
  }
}

/** Nobody keeps more of them in a file. */
const mostDicts = 64

/**
 * The state dicts in a file by their paths: those at the top, and those below what is called an average; where there
 * are none at the top, those one level below it. Lightning keeps tensors of its callbacks there.
 */
function dictsIn(root: unknown): Map<string, Map<string, unknown>> {
  const [top, below, averages] = [1, 2, 3].map(() => new Map<string, Map<string, unknown>>())
  const known = new Map<unknown, boolean>()
  const isDict = (value: unknown): value is Map<string, unknown> => {
    const is = known.get(value) ?? isStateDict(value)
    known.set(value, is)
    return is
  }
  for (const [key, value] of dictsOf(root)) {
    if (isDict(value)) top.set(key, value)
    else
      for (const [inner, dict] of dictsOf(value)) {
        if (!isDict(dict)) continue
        below.set(`${key}.${inner}`, dict)
        if (isAverage(key)) averages.set(`${key}.${inner}`, dict)
      }
  }
  return top.size === 0 ? below : new Map([...top, ...averages])
}

/** The dictionaries in a dictionary, under names. */
function dictsOf(value: unknown): [string, Map<unknown, unknown>][] {
  if (!(value instanceof Map)) return []
  const dicts: [string, Map<unknown, unknown>][] = []
  for (const [key, inner] of value as Map<unknown, unknown>) {
    if (typeof key === 'string' && key.length < 200 && inner instanceof Map) dicts.push([key, inner])
    if (dicts.length === mostDicts) break
  }
  return dicts
}

function noStateDict(root: unknown, names: readonly string[], file: string): TweedieError {
  if (names.length > 0)
    return new TweedieError('option', `${file}: it holds several state dicts, ${listed(names)}: ${howToChoose}.`)
  const keys = root instanceof Map ? [...root.keys()].map((key) => (typeof key === 'string' ? key : typeof key)) : []
  if (keys.includes('state') && keys.includes('param_groups'))
    return new TweedieError(
      'format',
      `${file}: expected weights, found the state of an optimizer: the weights are in another file, often of a name ` +
        'with model or ema in the place of opt.',
    )
  const found =
    root instanceof TorchTensor
      ? 'a single tensor'
      : root instanceof Map
        ? `the keys ${root.size === 0 ? '(none)' : listed(keys, 20)}`
        : 'no dictionary'
  return new TweedieError(
    'format',
    `${file}: expected a dictionary of tensors, or one in it under a name such as state_dict, model or ema, found ` +
      `${found}. Save the weights alone: torch.save(model.state_dict(), path)`,
  )
}

function isStateDict(value: unknown): value is Map<string, unknown> {
  if (!(value instanceof Map) || value.size === 0) return false
  let tensors = 0
  for (const [key, tensor] of value as Map<unknown, unknown>) {
    if (typeof key !== 'string') return false
    if (tensor instanceof TorchTensor) tensors++
    else if (!(tensor instanceof OtherTensor)) return false
  }
  return tensors > 0
}

function readable(dict: Map<string, unknown>): { tensors: Map<string, TorchTensor>; notes: string[] } {
  const tensors = new Map<string, TorchTensor>()
  const others: string[] = []
  for (const [name, tensor] of dict) {
    if (tensor instanceof TorchTensor) tensors.set(name, tensor)
    else others.push(`${clipped(name, 60)} (${(tensor as OtherTensor).what})`)
  }
  return {
    tensors,
    notes: others.length > 0 ? [printable(`tensors of a kind that is not read are left out: ${listed(others)}`)] : [],
  }
}
