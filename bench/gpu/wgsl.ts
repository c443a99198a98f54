/** What the text of a kernel says of it: bindings, workgroup memory, threads, and how often its loops run. */
import { readKernelText, type KernelText as KernelFacts } from '../../src/bench/kernel-text.ts'

/** A loop and those in it, in the order of the text. */
export interface TextLoop {
  /** How often it runs for one run of its surroundings; null where the text does not say. */
  readonly trips: number | null
  /** Whether a compiler knows that number, and may write the loop out. */
  readonly constant: boolean
  readonly inner: readonly TextLoop[]
}

export interface KernelText extends Known {
  readonly loops: readonly TextLoop[]
}

type Known = { readonly [K in keyof KernelFacts]: NonNullable<KernelFacts[K]> }

export function readKernel(code: string): KernelText {
  const { workgroupBytes, threads, ...rest } = readKernelText(code)
  if (threads === null) throw new Error('a kernel whose @workgroup_size is not understood')
  if (workgroupBytes === null) throw new Error('a kernel of whose workgroup memory the size is not known')
  return { ...rest, workgroupBytes, threads, loops: loopsIn(code.replaceAll(/\/\/.*$/gm, '')) }
}

function loopsIn(text: string): TextLoop[] {
  const loops: TextLoop[] = []
  const head = /\b(?:(?:for|while)\s*\(|loop\s*\{)/g
  for (let match = head.exec(text); match; match = head.exec(text)) {
    const opens = match.index + match[0].length
    const isLoop = match[0].endsWith('{')
    const closes = isLoop ? opens : after(text, opens, '(', ')')
    const begin = isLoop ? opens : text.indexOf('{', closes) + 1
    const end = after(text, begin, '{', '}')
    loops.push({ ...tripsOf(isLoop ? '' : text.slice(opens, closes - 1)), inner: loopsIn(text.slice(begin, end - 1)) })
    head.lastIndex = end
  }
  return loops
}

/** Where what was opened before `at` is closed, and one further. */
function after(text: string, at: number, open: string, close: string): number {
  for (let depth = 1; depth > 0; at++) {
    if (at >= text.length) throw new Error(`a ${open} without its ${close}`)
    if (text[at] === open) depth++
    else if (text[at] === close) depth--
  }
  return at
}

/** Of `var r = t / 64; r < 16; r += 4`: 4. What it begins with, if it depends on the thread, is below the step. */
function tripsOf(header: string): Pick<TextLoop, 'trips' | 'constant'> {
  const number = (word: string | undefined): number =>
    /^\d+[iu]?$/.test(word ?? '') ? parseInt(word!, 10) : Number.NaN
  const [begin = '', bound = '', next = ''] = header.split(';').map((part) => part.trim())
  const first = number(/^var \w+\s*=\s*(.*)$/.exec(begin)?.[1])
  const last = number(/^\w+\s*<\s*(.*)$/.exec(bound)?.[1])
  const step = /\+\+$/.test(next) ? 1 : number(/\+=\s*(.*)$/.exec(next)?.[1])
  const trips = Math.ceil((last - (first || 0)) / step)
  return Number.isNaN(trips) ? { trips: null, constant: false } : { trips, constant: !Number.isNaN(first) }
}
