/** JSON of our files: no number that is none is written, and what is read is what it should be. */
import { describe, expect, test } from 'vitest'
import {
  aBoolean,
  aCount,
  aNumber,
  aText,
  anyOf,
  fieldsOf,
  jsonText,
  listOf,
  oneOf,
  optional,
  parseJson,
  valuesOf,
} from '../src/io/json.ts'

test.each([NaN, Infinity, -Infinity])('%d is not written as null', (value) => {
  const run = () => jsonText({ samples: [{ score: 1 }, { score: value, name: 'b' }] }, 'run.json')
  expect(run).toThrow(`run.json is not written: samples[1].score is ${value}`)
  expect(run).toThrow(expect.objectContaining({ code: 'non-finite' }))
})

test('all else is, as JSON.stringify does', () => {
  const value = { a: [1, -2.5, 2 ** 60, 5e-324], b: null, c: { d: 'x', e: true }, f: undefined }
  expect(jsonText(value, 'x')).toBe(JSON.stringify(value))
  expect(jsonText(value, 'x', 2)).toBe(JSON.stringify(value, null, 2))
})

describe('what is read', () => {
  const check = fieldsOf({
    name: aText,
    done: optional(aBoolean),
    kind: oneOf('a', 'b', null),
    options: valuesOf(anyOf(aText, aNumber)),
    samples: listOf(fieldsOf({ score: aNumber, label: optional(aCount) })),
  })
  const good = {
    name: 'x',
    kind: null,
    options: { n: 1, s: 'y' },
    samples: [{ score: 0.5 }, { score: -1, label: 3, more: [] }],
    more: {},
  }

  test('passes as it is', () => expect(parseJson(JSON.stringify(good), 'r.json', 'a run', check)).toEqual(good))

  test.each<[string, string, string]>([
    ['no JSON', '{', 'found no JSON'],
    ['a list for an object', '[]', 'it: expected an object, found []'],
    ['nothing for an object', 'null', 'it: expected an object, found null'],
    [
      'null for a number',
      JSON.stringify({ ...good, samples: [{ score: 1 }, { score: NaN }] }),
      'samples[1].score: expected a number, found null',
    ],
    [
      'more than a double holds',
      JSON.stringify(good).replace('0.5', '1e999'),
      'samples[0].score: expected a number, found null',
    ],
    [
      'text for a number',
      JSON.stringify({ ...good, samples: [{ score: '1' }] }),
      'samples[0].score: expected a number, found "1"',
    ],
    [
      'half an image',
      JSON.stringify({ ...good, samples: [{ score: 1, label: 2.5 }] }),
      'samples[0].label: expected a whole number of 0 or more, found 2.5',
    ],
    [
      'a number past 2^53 for a count',
      JSON.stringify({ ...good, samples: [{ score: 1, label: 2 ** 53 }] }),
      'samples[0].label: expected a whole number',
    ],
    ['an object for a list', JSON.stringify({ ...good, samples: {} }), 'samples: expected a list, found {}'],
    ['a field that is missing', JSON.stringify({ ...good, name: undefined }), 'name: expected a text, found nothing'],
    ['another choice', JSON.stringify({ ...good, kind: 'c' }), 'kind: expected "a" or "b" or null, found "c"'],
    ['a list among options', JSON.stringify({ ...good, options: { n: [] } }), 'options.n: expected a number, found []'],
    [
      'inherited fields',
      JSON.stringify({ ...good, samples: undefined }).replace('"name"', '"__proto__":{"samples":[]},"name"'),
      'samples: expected a list, found nothing',
    ],
  ])('%s: refused with its place', (_, text, message) => {
    const run = () => parseJson(text, 'r.json', 'a run', check)
    expect(run).toThrow(`r.json: expected a run`)
    expect(run).toThrow(message)
    expect(run).toThrow(expect.objectContaining({ code: 'format' }))
  })
})
