/** What the library, the command line and a reader's own program are told to draw an arm of a {@link State}. */
import type { ClientSampleOptions } from 'tweedie/client'
import type { Method, State } from './state.ts'

/** What an arm has beside seed, number and steps, by the library's names. */
function ownOptions(state: State, method: Method): ClientSampleOptions {
  switch (method) {
    case 'plain':
      return {}
    case 'ddim':
      return { method }
    case 'self-guided':
      return { method, selfGuidance: { weight: state['guide-weight'] } }
    case 'minority-guided':
      return { method, scale: state['minority-scale'], target: state['minority-target'] }
    case 'boost-and-skip':
      return { method, boost: state.boost, skip: state.skip }
    case 'class-guided':
      return { classifierScale: state['classifier-scale'], labels: [state.label] }
  }
}

/** For `client.sample`. */
export const sampleOptionsOf = (state: State, method: Method): ClientSampleOptions => ({
  number: state.number,
  steps: state.respacing,
  seed: state.seed,
  ...ownOptions(state, method),
})

/** The command line's names of what {@link ownOptions} has. */
function words(state: State, method: Method): readonly (readonly [string, string | number])[] {
  switch (method) {
    case 'plain':
      return []
    case 'self-guided':
      return [['guide-weight', state['guide-weight']]]
    case 'minority-guided':
      return [
        ['minority-scale', state['minority-scale']],
        ...(state['minority-target'] === 'rarest' ? [] : [['minority-target', state['minority-target']] as const]),
      ]
    case 'boost-and-skip':
      return [
        ['boost', state.boost],
        ['skip', state.skip],
      ]
    case 'class-guided':
      return [
        ['classifier', 'CLASSIFIER'],
        ['target', state.label],
        ['classifier-scale', state['classifier-scale']],
      ]
    case 'ddim':
      return []
  }
}

/** The same as a command. `model` is a file's name, or `bccd32`. */
export function commandOf(state: State, method: Method, model: string): string {
  const named = method === 'plain' || method === 'class-guided' ? [] : [['method', method] as const]
  const rest = [
    ...named,
    ['number', state.number] as const,
    ['respacing', state.respacing] as const,
    ['seed', state.seed] as const,
    ...words(state, method),
  ]
  return `npx tweedie sample --model ${quoted(model)} ${rest.map(([name, value]) => `--${name} ${value}`).join(' ')} --out drawn`
}

/** The same as a program. */
export function programOf(state: State, method: Method, model: string): string {
  const options = Object.entries(sampleOptionsOf(state, method)).map(([name, value]) => `${name}: ${literal(value)}`)
  return [
    "import { writeFileSync } from 'node:fs'",
    "import { encodePng, Tweedie } from 'tweedie'",
    '',
    `const model = await Tweedie.load(${literal(model)})`,
    `const options = { ${options.join(', ')} }`,
    'for await (const { images, done, total } of model.sample(options))',
    "  if (done === total) images.forEach((image, k) => writeFileSync(k + '.png', encodePng(image)))",
    'model.dispose()',
  ].join('\n')
}

/** A shell's word. */
const quoted = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

function literal(value: unknown): string {
  if (typeof value === 'string') return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
  if (typeof value === 'object' && value !== null)
    return `{ ${Object.entries(value)
      .map(([name, one]) => `${name}: ${literal(one)}`)
      .join(', ')} }`
  return String(value)
}
