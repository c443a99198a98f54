/** What the bench page measures, as its controls and its links have it. The page in a browser: test/long/bench-page. */
import { expect, test } from 'vitest'
import { kernelKinds, shapeGroups } from '../src/bench/index.ts'
import { browserOf, commandOf, groups, hashOf, linkOf, ops, start, wants, type State } from '../site/bench/state.ts'

test('a link holds what is set, and nothing that is as at the start', () => {
  expect(hashOf(start)).toBe('')
  const state: State = {
    backend: 'cpu',
    shapes: ['toy-8', 'adm-8'],
    ops: [],
    peers: ['tfjs', 'jax'],
    network: true,
    effort: 'quick',
  }
  expect(hashOf(state)).toBe('#backend=cpu&shapes=toy-8,adm-8&ops=&peers=tfjs,jax&network=yes&effort=quick')
  expect(linkOf(hashOf(state))).toEqual({ state, result: null, problems: [] })
  expect(commandOf(state)).toBe('npx tweedie bench --backend cpu --shapes toy-8,adm-8 --network toy')
})

test('what a link says that is not so is told, and keeps its default', () => {
  const { state, result, problems } = linkOf(
    '#backend=gpu&shapes=toy,moon&peers=jax,jax&color=red&network=1&result=ab_-',
  )
  expect(state).toEqual({ ...start, peers: ['jax'] })
  expect(result).toBe('ab_-')
  expect(problems).toEqual([
    'The link\'s backend is "gpu": expected auto, webgpu, cpu.',
    expect.stringMatching(/^The link's shapes is "toy,moon": expected some of toy, toy-8, adm-64/),
    'The link has "color", which this page does not know.',
    'The link\'s network is "1": expected yes or no.',
  ])
  expect(linkOf('#__proto__=1').problems).toHaveLength(1)
})

test('its shapes and kernels are those of the bench', () => {
  expect(Object.keys(groups)).toEqual(Object.keys(shapeGroups()))
  for (const as of Object.keys(kernelKinds)) {
    const wanting = (Object.keys(ops) as (keyof typeof ops)[]).filter((op) => wants({ ...start, ops: [op] }, as))
    expect(wanting, as).toHaveLength(1)
  }
})

test('a browser is called by its name', () => {
  const chrome = 'AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36'
  expect(browserOf(`Mozilla/5.0 (X11; Linux x86_64) ${chrome}`)).toBe('Chrome 156, Linux')
  expect(browserOf(`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${chrome} Edg/156.0`)).toBe('Edge 156, Windows')
  expect(browserOf('Mozilla/5.0 (Macintosh; Intel Mac OS X 15.7; rv:153.0) Gecko/20100101 Firefox/153.0')).toBe(
    'Firefox 153, Mac OS X',
  )
  const safari = 'AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1'
  expect(browserOf(`Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) ${safari}`)).toBe('Safari 26, iPhone')
  expect(browserOf('Deno/2')).toBe('Deno/2')
})
