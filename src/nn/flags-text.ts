/**
 * The flags of a command line as people have them: copied from a README (`MODEL_FLAGS="--image_size 64 …"`), from a
 * script with its `python image_sample.py $MODEL_FLAGS`, or the flags alone. What they mean is in flags.ts.
 */
import { TweedieError, unexpected } from '../errors.ts'

/** A flag and its value, in the order in which they stand. */
export type FlagPair = readonly [name: string, value: string]

const fail = (message: string): never => {
  throw new TweedieError('option', `flags: ${message}`)
}

/**
 * The flags in a text, or in several one after another: `--name value` or `--name=value`.
 * @throws TweedieError 'option' for what is no flag, and for a flag without its value
 */
export function flagPairs(flags: string | readonly string[]): FlagPair[] {
  const texts: unknown[] = Array.isArray(flags) ? flags : [flags]
  const expected = 'a text such as "--image_size 64 --num_channels 192", or a list of such'
  for (const text of texts) if (typeof text !== 'string') throw unexpected('flags', expected, text)
  const words = wordsOf(texts.join('\n'))
  // A variable of the shell that is not set; the network of no flags at all is nobody's.
  if (words.length === 0) throw unexpected('flags', expected, flags, 'Is the variable set?')
  const pairs: FlagPair[] = []
  for (let i = 0; i < words.length; i++) {
    const [, name, inline] = /^--([A-Za-z_][\w-]*)(?:=(.*))?$/s.exec(words[i]) ?? fail(noFlag(words[i]))
    // -1 is a value, --seed is none.
    const value = inline ?? words[++i]
    if (value === undefined || (inline === undefined && value.startsWith('--')))
      fail(`--${name} needs a value, as in --${name} True.`)
    pairs.push([name, value])
  }
  return pairs
}

function noFlag(word: string): string {
  if (word.startsWith('$'))
    return `${word} is a variable of the shell, which is not set here: give the text that it stands for.`
  if (/^[–—-]/.test(word)) return `"${word}" is no flag: they begin with two hyphens, as in --image_size 64.`
  return `expected flags such as --image_size 64, found "${word.slice(0, 60)}".`
}

/**
 * The words of a shell's text. Assignments stand for what they assign; the program, and variables that are
 * assigned, for nothing.
 */
function wordsOf(text: string): string[] {
  const assigned = new Set<string>()
  const plain = text
    .replace(/[“”]/g, '"')
    .replace(/\\\r?\n/g, ' ')
    .replace(/(^|\s)#.*$/gm, '$1')
    .replace(
      /(^|\s)(?:export\s+)?([A-Za-z_]\w*)=(["'])(.*?)\3/gs,
      (_, before: string, name: string, _quote, value: string) => {
        assigned.add(name)
        return `${before}${value} `
      },
    )
    .replace(/(^|\s)(?:mpiexec\s+-n\s+\S+\s+)?python3?\s+\S+\.py(?=\s|$)/g, '$1')
    .replace(/\$(?:\{(\w+)\}|(\w+))/g, (whole, braced?: string, bare?: string) =>
      assigned.has((braced ?? bare)!) ? '' : whole,
    )
  const words = Array.from(plain.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+|["']/g), ([word]) => word)
  if (words.some((word) => word === '"' || word === "'")) fail('a quotation mark has no partner.')
  return words.map((word) =>
    word.replace(/"([^"]*)"|'([^']*)'/g, (_, double?: string, single?: string) => double ?? single ?? ''),
  )
}
