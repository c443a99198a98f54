/** The playground's state in a link. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  backends,
  hashOf,
  methods,
  rangeNames,
  ranges,
  start,
  stateOf,
  within,
  type State,
} from '../site/playground/state.ts'

const states: fc.Arbitrary<State> = fc.record({
  ...(Object.fromEntries(
    rangeNames.map((name) => {
      const { least, most, step } = ranges[name]
      return [name, fc.integer({ min: 0, max: Math.round((most - least) / step) }).map((k) => least + k * step)]
    }),
  ) as Record<(typeof rangeNames)[number], fc.Arbitrary<number>>),
  a: fc.constantFrom(...methods),
  b: fc.constantFrom(...methods, 'none' as const),
  model: fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }),
  'minority-target': fc.oneof(fc.constant('rarest' as const), fc.integer({ min: 0, max: 99 })),
  backend: fc.constantFrom(...backends),
})

describe('a link', () => {
  test('restores every state', () => {
    fc.assert(
      fc.property(states, (state) => {
        expect(stateOf(hashOf(state))).toEqual({ state, problems: [] })
      }),
    )
  })

  test('of the start is empty, and reads as people write it', () => {
    expect(hashOf(start)).toBe('')
    expect(stateOf('#seed=7&b=self-guided&guide-weight=0.5').state).toEqual({
      ...start,
      seed: 7,
      b: 'self-guided',
      'guide-weight': 0.5,
    })
  })

  test('says of each part that says nothing what it is, and keeps the rest', () => {
    const { state, problems } = stateOf('#seed=-1&a=plian&steps=4&number=2&respacing=&minority-target=common')
    expect(state).toEqual({ ...start, number: 2 })
    expect(problems).toHaveLength(5)
    expect(problems[0]).toBe(`The link's seed is "-1": expected a whole number from 0 to 4294967295.`)
    expect(problems[1]).toContain('"plian": expected plain, ddim,')
  })

  test('of anything at all is a state', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const { state, problems } = stateOf(text)
        expect(Object.keys(state).sort()).toEqual(Object.keys(start).sort())
        for (const problem of problems) expect(problem.length).toBeLessThan(160)
      }),
    )
  })

  test('that names what every object has is told that the playground does not know it', () => {
    expect(stateOf('#constructor=1&__proto__=1').problems.join(' ')).toMatch(/"constructor", which.*"__proto__", which/)
  })
})

test('a number that is typed becomes one that its slider can stand on', () => {
  expect(['99', '-3', '2.6', '7'].map((text) => within(ranges.number, text))).toEqual([16, 1, 3, 7])
  expect(['0.123', '9'].map((text) => within(ranges['minority-scale'], text))).toEqual([0.12, 8])
  expect(['', ' ', 'e', 'Infinity'].map((text) => within(ranges.seed, text))).toEqual([null, null, null, null])
})
