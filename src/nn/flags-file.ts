/** The flags of guided-diffusion's scripts as people keep them in a file beside the weights. */

/** Of the scripts, and no argument of the constructors. */
const scriptNames = ['num_channels', 'class_cond', 'large_size', 'classifier_width', 'classifier_depth', 'learn_sigma']

/**
 * The flags in a file: a JSON object of them (`{"num_channels": 128, …}`), lines of `name: value` as YAML has, or
 * flags as they are typed. Undefined for a configuration in the constructors' words.
 */
export function flagsInFile(text: string): string[] | undefined {
  const pairs = jsonPairs(text) ?? yamlPairs(text)
  if (pairs) {
    const names = pairs.map(([name]) => name)
    if (names.includes('model_channels') || !names.some((name) => scriptNames.includes(name))) return undefined
    return pairs.filter(([, value]) => value !== null).map(([name, value]) => `--${name}="${wordOf(value)}"`)
  }
  return /^\s*--[A-Za-z_]/.test(text) || /^\s*\w+="?\s*--[A-Za-z_]/.test(text) ? [text] : undefined
}

function jsonPairs(text: string): [string, unknown][] | undefined {
  try {
    const json: unknown = JSON.parse(text)
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? Object.entries(json) : []
  } catch {
    return undefined
  }
}

/** Lines of names and values; of sections the lines in them. */
function yamlPairs(text: string): [string, unknown][] | undefined {
  const pairs: [string, unknown][] = []
  for (const line of text.split('\n').slice(0, 10_000)) {
    const bare = line.replace(/(^|\s)#.*$/, '').trim()
    if (bare === '' || bare === '---') continue
    const colon = bare.indexOf(':')
    if (!/^[A-Za-z_]\w*\s*$/.test(bare.slice(0, colon)) || colon < 0) return undefined
    const value = bare.slice(colon + 1).trim()
    if (value !== '')
      pairs.push([bare.slice(0, colon).trim(), value.replace(/^(["'])(.*)\1$/, '$2').replace(/^\[(.*)\]$/, '$1')])
  }
  return pairs
}

/** A value as it is typed: lists with commas, truth as Python writes it. */
const wordOf = (value: unknown): string =>
  (Array.isArray(value)
    ? value.slice(0, 100).map(wordOf).join(',')
    : typeof value === 'object'
      ? '{…}'
      : typeof value === 'boolean'
        ? value
          ? 'True'
          : 'False'
        : String(value)
  ).replace(/["\s]/g, '')
