/** What the bench page measures: a value that its controls show and a link's hash holds. */

/** Groups of shapes, by the names of `tweedie bench --shapes`. */
export const groups = {
  toy: 'small U-Net, 32 × 32',
  'toy-8': 'small U-Net, 8 × 8',
  'adm-64': 'ADM-64, 64 × 64',
  'adm-32': 'ADM-64, 32 × 32',
  'adm-16': 'ADM-64, 16 × 16',
  'adm-8': 'ADM-64, 8 × 8',
  'sd-64': 'Stable Diffusion, 64 × 64',
  'sd-32': 'Stable Diffusion, 32 × 32',
  'sd-16': 'Stable Diffusion, 16 × 16',
} as const
export type GroupName = keyof typeof groups

export const ops = {
  conv2d: 'convolution',
  'conv2d-gradients': 'convolution, gradients',
  matmul: 'matrix product',
  attention: 'attention',
  'attention-gradient': 'attention, gradient',
  softmax: 'softmax',
  'group-norm': 'group norm',
  'group-norm-gradient': 'group norm, gradient',
  silu: 'SiLU',
} as const
export type OpName = keyof typeof ops

export const peers = {
  ort: 'onnxruntime-web',
  tfjs: 'TensorFlow.js',
  litert: 'LiteRT.js',
  jax: 'jax-js',
} as const
export type PeerName = keyof typeof peers

export const backends = ['auto', 'webgpu', 'cpu'] as const
export const effort = { quick: 200, usual: 1000, patient: 4000 } as const

export interface State {
  readonly backend: (typeof backends)[number]
  readonly shapes: readonly GroupName[]
  readonly ops: readonly OpName[]
  readonly peers: readonly PeerName[]
  /** Whole passes through the small network, too. */
  readonly network: boolean
  /** Milliseconds of samples a figure, by name. */
  readonly effort: keyof typeof effort
}

export const start: State = {
  backend: 'auto',
  shapes: ['toy'],
  ops: ['conv2d', 'matmul', 'group-norm'],
  peers: [],
  network: false,
  effort: 'usual',
}

const oneOf =
  <T extends string>(all: readonly T[]) =>
  (text: string): T | null =>
    all.includes(text as T) ? (text as T) : null
/** Names with commas between, each once; in the order of `all`. */
const someOf =
  <T extends string>(all: readonly T[]) =>
  (text: string): T[] | null => {
    const names = text === '' ? [] : text.split(',')
    return names.every((name) => all.includes(name as T)) ? all.filter((name) => names.includes(name)) : null
  }
const namesOf = <T extends string>(of: Readonly<Record<T, unknown>>): T[] => Object.keys(of) as T[]

/** How a link's words are read, and what may stand there. */
const readers: { readonly [K in keyof State]: readonly [read: (text: string) => State[K] | null, expected: string] } = {
  backend: [oneOf(backends), backends.join(', ')],
  shapes: [someOf(namesOf(groups)), `some of ${namesOf(groups).join(', ')}`],
  ops: [someOf(namesOf(ops)), `some of ${namesOf(ops).join(', ')}`],
  peers: [someOf(namesOf(peers)), `some of ${namesOf(peers).join(', ')}`],
  network: [(text) => (text === 'yes' ? true : text === 'no' ? false : null), 'yes or no'],
  effort: [oneOf(namesOf(effort)), namesOf(effort).join(', ')],
}

const short = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text)

/** What a link's hash says. `result`: a report that somebody shares, as it stands there. */
export interface Link {
  readonly state: State
  readonly result: string | null
  /** A sentence for each part that says nothing. */
  readonly problems: readonly string[]
}

/** The state of a hash; what is not understood keeps its default. */
export function linkOf(hash: string): Link {
  const found: Partial<Record<string, unknown>> = {}
  const problems: string[] = []
  let result: string | null = null
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ''))) {
    if (name === 'result') result = text
    else if (!Object.hasOwn(readers, name))
      problems.push(`The link has "${short(name)}", which this page does not know.`)
    else {
      const [read, expected] = readers[name as keyof State]
      const value = read(text)
      if (value === null) problems.push(`The link's ${name} is "${short(text)}": expected ${expected}.`)
      else found[name] = value
    }
  }
  return { state: { ...start, ...found }, result, problems }
}

const wordOf = (value: State[keyof State]): string =>
  typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value)

/** Of a state the hash that {@link linkOf} reads: what is not as at the start, in a fixed order. */
export function hashOf(state: State): string {
  const names = (Object.keys(start) as (keyof State)[]).filter((name) => wordOf(state[name]) !== wordOf(start[name]))
  return names.length === 0 ? '' : `#${names.map((name) => `${name}=${wordOf(state[name])}`).join('&')}`
}

/** Whether a kernel of `src/bench/cases.ts` is among the ops. */
export const wants = ({ ops: chosen }: State, as: string): boolean =>
  chosen.some((op) =>
    op === 'conv2d'
      ? /^conv2d-\dx\d$/.test(as)
      : op === 'conv2d-gradients'
        ? /^conv2d-\dx\d-.*gradient$/.test(as)
        : op === as,
  )

/** The same for a terminal. */
export const commandOf = ({ backend, shapes, network }: State): string =>
  `npx tweedie bench${backend === 'auto' ? '' : ` --backend ${backend}`} --shapes ${shapes.join(',') || 'none'} ` +
  `--network ${network ? 'toy' : 'none'}`

/** A browser and its system, of its words for itself: `Chrome 150, Linux`. All of them say Mozilla, most say Safari. */
export function browserOf(userAgent: string): string {
  const names = [
    [/Edg\/(\d+)/, 'Edge'],
    [/OPR\/(\d+)/, 'Opera'],
    [/(?:Headless)?Chrome\/(\d+)/, 'Chrome'],
    [/Firefox\/(\d+)/, 'Firefox'],
    [/Version\/(\d+).*Safari/, 'Safari'],
  ] as const
  const [name = userAgent.slice(0, 60)] = names.flatMap(([words, title]) => {
    const version = words.exec(userAgent)?.[1]
    return version === undefined ? [] : [`${title} ${version}`]
  })
  const system = /iPhone|iPad|Android|Windows|Mac OS X|CrOS|Linux/.exec(userAgent)?.[0]
  return system ? `${name}, ${system}` : name
}
