/** Numbers from text: of a grid's terms, and of the constants in a kernel. */
export type Term = (values: Readonly<Record<string, number>>) => number

const calls: Readonly<Record<string, (...values: number[]) => number>> = {
  ceil: Math.ceil,
  floor: Math.floor,
  min: Math.min,
  max: Math.max,
}

/**
 * Terms with commas between: numbers, + - * / and brackets, `ceil`, `floor`, `min`, `max`, and `names`, whose values
 * come later. `fail` throws for anything else, and is told what was found.
 */
export function arithmetic(text: string, names: readonly string[], fail: (found: string) => never): Term[] {
  const tokens = text.match(/\d+(?:\.\d+)?|\w+|[^\s\w]/g) ?? []
  let at = 0
  const named = (token: string | undefined): string => (token === undefined ? 'the end' : `"${token}"`)
  const expect = (token: string): void => {
    if (tokens[at++] !== token) fail(named(tokens[at - 1]))
  }
  const list = (): Term[] => {
    const found = [sum()]
    while (tokens[at] === ',') {
      at++
      found.push(sum())
    }
    return found
  }
  const chain = (next: () => Term, one: string, other: string, join: (o: string, a: number, b: number) => number) => {
    let left = next()
    while (tokens[at] === one || tokens[at] === other) {
      const [operator, before] = [tokens[at++], left]
      const right = next()
      left = (values) => join(operator, before(values), right(values))
    }
    return left
  }
  const sum = (): Term => chain(factor, '+', '-', (o, a, b) => (o === '+' ? a + b : a - b))
  const factor = (): Term => chain(atom, '*', '/', (o, a, b) => (o === '*' ? a * b : a / b))
  const atom = (): Term => {
    const token = tokens[at++]
    if (/^\d/.test(token ?? '')) return () => Number(token)
    if (token === '(') {
      const inner = sum()
      expect(')')
      return inner
    }
    if (Object.hasOwn(calls, token ?? '')) {
      expect('(')
      const given = list()
      expect(')')
      return (values) => calls[token](...given.map((term) => term(values)))
    }
    if (!names.includes(token)) fail(named(token))
    return (values) => values[token]
  }
  const terms = list()
  if (at < tokens.length) fail(named(tokens[at]))
  return terms
}
