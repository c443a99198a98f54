/** What the library, the command line and a reader's own program are told to draw an arm of a {@link State}. */
import type { ClientSampleOptions } from 'tweedie/client'
import type { Method, State } from './state.ts'

/** The model that draws, as it is called outside of the page. */
export interface Named {
  /** `bccd32`, or a file's name. */
  readonly name: string
  /** How many classes it takes; null for none. */
  readonly classes: number | null
  /** Names of the other files, and what had to be said of this one. */
  readonly classifier?: string
  readonly minorityClassifier?: string
  readonly preset?: string
  readonly flags?: string
}

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
      return {
        method,
        scale: state['minority-scale'],
        ...(state['minority-target'] !== 'rarest' && { target: state['minority-target'] }),
      }
    case 'boost-and-skip':
      return { method, boost: state.boost, skip: state.skip }
    case 'class-guided':
      return { classifierScale: state['classifier-scale'], classifierTarget: [state.label] }
  }
}

/** For `client.sample`. A classifier that was loaded leads the arm that is of it, and no other. */
export const sampleOptionsOf = (state: State, method: Method, model: Named): ClientSampleOptions => ({
  number: state.number,
  steps: state.respacing,
  seed: state.seed,
  ...(model.classes !== null && { labels: [state.label] }),
  ...(model.classifier && method !== 'class-guided' && { classifierScale: 0 }),
  ...ownOptions(state, method),
})

type Words = readonly (readonly [name: string, value: string | number])[]

/** The command line's names of what {@link ownOptions} has. */
function words(state: State, method: Method, { classifier, minorityClassifier }: Named): Words {
  const target = state['minority-target']
  switch (method) {
    case 'plain':
    case 'ddim':
      return []
    case 'self-guided':
      return [['guide-weight', state['guide-weight']]]
    case 'minority-guided':
      return [
        ...(minorityClassifier ? [['minority-classifier', quoted(minorityClassifier)] as const] : []),
        ['minority-scale', state['minority-scale']],
        ...(target === 'rarest' ? [] : [['minority-target', target] as const]),
      ]
    case 'boost-and-skip':
      return [
        ['boost', state.boost],
        ['skip', state.skip],
      ]
    case 'class-guided':
      return [
        ['classifier', quoted(classifier ?? 'CLASSIFIER')],
        ['target', state.label],
        ['classifier-scale', state['classifier-scale']],
      ]
  }
}

/** The same as a command. */
export function commandOf(state: State, method: Method, model: Named): string {
  const named = method === 'plain' || method === 'class-guided' ? [] : [['method', method] as const]
  const all: Words = [
    ['model', quoted(model.name)],
    ...(model.preset ? [['preset', quoted(model.preset)] as const] : []),
    ...(model.flags ? [['flags', quoted(model.flags)] as const] : []),
    ...named,
    ...(model.classes === null ? [] : [['labels', state.label] as const]),
    ['number', state.number],
    ['respacing', state.respacing],
    ['seed', state.seed],
    ...words(state, method, model),
  ]
  return `npx tweedie sample ${all.map(([name, value]) => `--${name} ${value}`).join(' ')} --out drawn`
}

/** The same as a program. */
export function programOf(state: State, method: Method, model: Named): string {
  const { name, classes: _, classifier, minorityClassifier, ...rest } = model
  const files = {
    ...rest,
    ...(classifier && method === 'class-guided' && { classifier }),
    ...(minorityClassifier && method === 'minority-guided' && { minorityClassifier }),
  }
  const told = Object.keys(files).length > 0 ? `, ${literal(files)}` : ''
  const { classifier: loaded, ...without } = model
  const options = sampleOptionsOf(state, method, method === 'class-guided' && loaded ? model : without)
  return [
    "import { writeFileSync } from 'node:fs'",
    "import { encodePng, Tweedie } from 'tweedie'",
    '',
    `const model = await Tweedie.load(${literal(name)}${told})`,
    `const options = ${literal(options)}`,
    'for await (const { images, done, total } of model.sample(options))',
    '  if (done === total) images.forEach((image, k) => writeFileSync(k + ".png", encodePng(image)))',
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
