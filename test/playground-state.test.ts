/** The playground's state in a link. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backends, hashOf, methods, rangeNames, ranges, start, stateOf, type State } from '../site/playground/state.ts'

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
    expect(problems[1]).toContain('"plian"')
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
})
