/**
 * The pages that the command line writes: whole in themselves, without scripts, and laid out by a real browser at the
 * widths of a phone and of a desk.
 */
import { parseHTML } from 'linkedom'
import { beforeAll, expect, test } from 'vitest'
import { intervalChart, lineChart } from '../src/cli/pages/chart.ts'
import { evaluationPage } from '../src/cli/pages/evaluation-page.ts'
import type { Estimate, Evaluation, MeasureName } from '../src/metrics/evaluation.ts'
import { chromium, html, posting, visit } from './chromium.ts'
import { discs, exampleEvaluation, examplePages } from './example-pages.ts'

let pages: Record<string, string>

/** What a page says. */
function textOf(page: string): string {
  const { documentElement } = parseHTML(page).document
  documentElement.querySelector('style')!.remove()
  return documentElement.textContent
}

beforeAll(async () => {
  pages = await examplePages()
})

test('each is one file without scripts, without addresses, and with every colour in light and in dark', () => {
  for (const [name, page] of Object.entries(pages)) {
    // Letters of pictures say anything.
    const { document } = parseHTML(page)
    const text = page.replaceAll(/base64,[^"]*/g, 'base64,')
    expect(text.match(/https?:|url\(|@import|NaN|Infinity|undefined|\[object/g), name).toBeNull()
    expect(document.querySelectorAll('script, link, iframe, [onload], [onerror]').length, name).toBe(0)
    for (const image of document.querySelectorAll('img'))
      expect(image.getAttribute('src')!.startsWith('data:image/png;base64,iVBOR'), name).toBe(true)
    for (const svg of document.querySelectorAll('figure > svg'))
      expect(svg.querySelectorAll('path, rect, circle').length, name).toBeGreaterThan(0)
    const style = document.querySelector('style')!.textContent
    const [light, dark] = style.split('@media (prefers-color-scheme: dark)')
    const used = new Set(
      Array.from(text.matchAll(/var\((--[a-z]+\d?)\)/g), ([, colour]) => `${colour}:`).filter(
        (colour) => colour !== '--rank:',
      ),
    )
    expect(
      [...used].filter((colour) => !light.includes(colour) || !dark.includes(colour)),
      name,
    ).toEqual([])
  }
})

test('a training page says its settings in words, and draws no curve of one point', () => {
  const text = textOf(pages['train-long'])
  for (const words of [
    'schedule sampler',
    'ema rates',
    '0.99, 0.9999',
    'attention resolutions',
    '16, 8',
    'use scale shift norm',
    '↑ loss',
    'images seen →',
  ])
    expect(text.includes(words), words).toBe(true)
  expect(text.match(/[{}[\]"]/g)).toBeNull()
  expect(textOf(pages['train-one-row'])).toContain('q0 to q3 are quartiles of the timestep')
  expect(textOf(pages['train-features'])).not.toContain('q0')
  expect(pages['train-one-row'].match(/<figure>/g)).toBeNull()
  expect(pages['train-one-row'].includes('While training, up to 12,800 images')).toBe(true)
  // The evaluation of one checkpoint is a table; the log has two rows.
  expect(pages['train-classifier-short'].match(/<figure>/g)).toHaveLength(3)
  expect(pages['train-classifier'].match(/<figure>/g)).toHaveLength(5)
})

test('an evaluation has every measure with its interval, the best bold, and each sample beside its neighbours', () => {
  const evaluation = exampleEvaluation()
  const { document } = parseHTML(pages.evaluation)
  const rows = [...document.querySelectorAll('tr')].filter((row) => row.querySelector('small'))
  expect(rows).toHaveLength(evaluation.measurements.length)
  const [first] = evaluation.measurements
  const cells = [...rows[0].querySelectorAll('td')].map((cell) => cell.textContent)
  expect(cells).toEqual([
    ...first.values.map((value) =>
      [value!.value.toPrecision(4), `${value!.low!.toPrecision(4)} to ${value!.high!.toPrecision(4)}`].join(''),
    ),
    '–',
  ])
  const lowest = Math.min(...first.values.map((value) => value!.value))
  expect([...rows[0].querySelectorAll('b')].map((cell) => cell.textContent)).toEqual([lowest.toPrecision(4)])
  const shown = evaluation.shown.flatMap(({ leastDense, mostDense, nearest }) => [
    ...leastDense,
    ...mostDense,
    ...nearest,
  ])
  expect([...document.querySelectorAll('.card')].map((card) => card.querySelectorAll('img').length)).toEqual(
    shown.map(({ nearest }) => 1 + nearest.length),
  )
  for (const text of [
    'covariance of rank 1,499',
    'coverage and realism are to the 2,000 rarest real images by AvgkNN in inception.',
  ])
    expect(textOf(pages.evaluation).includes(text), text).toBe(true)
  expect(textOf(pages['evaluation-of-statistics'])).toContain('Beside statistics (out/real).')
  expect(pages['evaluation-of-statistics']).not.toContain('</th><th>real images')
  // Of one method nothing is best, and there are no charts of methods side by side.
  expect(pages['evaluation-of-statistics'].match(/<b>|is better; dashed/g)).toBeNull()
})

test('the best is bold where its interval overlaps no other, and of rarity nothing is the best', async () => {
  const estimate = (value: number, half: number | null) => ({
    value,
    low: half && value - half,
    high: half && value + half,
  })
  const bold = async (measure: MeasureName, halves: (number | null)[], more: Partial<Estimate> = {}) => {
    const values = [3, 2, 1].map((value, m) => ({ ...estimate(value, halves[m]), ...more }))
    const evaluation: Evaluation = {
      ...exampleEvaluation(),
      measurements: [{ measure, space: 'inception', values, real: null }],
      distributions: [],
      precisionByRarity: [],
      shown: [],
    }
    const { document } = parseHTML(await evaluationPage(evaluation, { methods: [null, null, null], real: null }))
    return [...document.querySelectorAll('b')].map((cell) => cell.textContent)
  }
  expect(await bold('precision', [0.4, 0.4, 0.4])).toEqual(['3.000'])
  expect(await bold('precision', [0.4, 0.7, 0.4])).toEqual([])
  expect(await bold('kid', [0.4, 0.4, 0.4])).toEqual(['1.000'])
  expect(await bold('kid', [2.5, 0.4, 0.4])).toEqual([])
  expect(await bold('frechet', [0.4, 0.4, null])).toEqual([])
  expect(await bold('frechet', [0.4, null, 0.4])).toEqual([])
  expect(await bold('frechet', [0.4, 0.4, 0.4], { doubtful: true })).toEqual([])
  for (const measure of ['avgknn', 'lof', 'rarity', 'outside'] as const)
    expect(await bold(measure, [0.1, 0.1, 0.1]), measure).toEqual([])
})

test('a cause is one note, folded below the table of its space, with the methods that it befell', async () => {
  const cause = 'The covariance of the samples has no full rank.'
  const warnings = [
    'The images are not of one size.',
    `ancestral in inception: ${cause}`,
    `ancestral in inception: ${cause} Another.`,
    `self-guided in inception: ${cause}`,
    `ancestral in dino-vit-s16: ${cause}`,
  ]
  const page = await evaluationPage({ ...exampleEvaluation(), warnings, shown: [] }, { methods: [], real: null })
  const { document } = parseHTML(page)
  const notes = [...document.querySelectorAll('details')].map((one) =>
    [...one.querySelectorAll('li')].map((item) => item.textContent),
  )
  expect(notes).toEqual([
    ['The images are not of one size.'],
    [`ancestral, self-guided: ${cause}`, `ancestral: ${cause} Another.`],
    [`ancestral: ${cause}`],
  ])
  expect(page.indexOf('self-guided: The covariance')).toBeGreaterThan(page.indexOf('</table>'))
})

test('a page has fewer samples of each method and space where there are many, and so a bound', async () => {
  const evaluation = exampleEvaluation()
  const [one] = evaluation.shown
  const sample = one.leastDense[0]
  const full = { ...one, leastDense: Array(12).fill(sample), mostDense: Array(12).fill(sample), nearest: [] }
  const images = {
    methods: evaluation.methods.map(({ name, images }) => discs(name, images!, 8)),
    real: discs('real', 10_000, 8),
  }
  for (const [parts, each] of [
    [1, 12],
    [10, 12],
    [20, 6],
    [60, 3],
  ]) {
    const page = await evaluationPage({ ...evaluation, shown: Array(parts).fill(full) }, images)
    expect(parseHTML(page).document.querySelectorAll('figure.card').length, String(parts)).toBe(parts * 2 * each)
  }
})

test('an evaluation that is stopped is no page', async () => {
  const evaluation = exampleEvaluation()
  const images = {
    methods: evaluation.methods.map(({ name, images }) => discs(name, images!, 8)),
    real: discs('real', 10_000, 8),
  }
  await expect(evaluationPage(evaluation, images, AbortSignal.abort(new Error('stopped')))).rejects.toThrow('stopped')
})

test('names are texts in a chart, equal and missing values have an axis', async () => {
  const name = '<script>"&'
  const rows = [
    { name, value: 2, low: null, high: null, style: 1 },
    { name: 'b', value: 2, low: 2, high: 2, style: 2 },
  ]
  const charts = await Promise.all([
    lineChart({
      title: name,
      x: { label: 'x' },
      y: { label: 'y' },
      lines: [
        { name, x: [1, 2, 3], y: [1, null, Infinity] },
        { name: 'b', x: [1, 2], y: [NaN, 2] },
      ],
    }),
    lineChart({ title: 'nothing', x: { label: 'x' }, y: { label: 'y' }, lines: [{ name: 'a', x: [], y: [] }] }),
    intervalChart({ title: name, rows, rule: 2 }),
    intervalChart({ title: name, rows, rule: NaN }),
  ])
  for (const chart of charts) {
    const { document } = parseHTML(`<body>${chart}`)
    expect([document.querySelector('script'), chart.match(/NaN|Infinity|undefined/g)]).toEqual([null, null])
    expect(document.querySelector('figcaption')!.textContent).toMatch(/^(<script>"&|nothing)/)
  }
})

interface Layout {
  readonly name: string
  readonly width: number
  /** What is wrong, a line each. */
  readonly wrong: readonly string[]
}

test.skipIf(!chromium)(
  'in Chromium nothing overflows, is cut off or broken within a word, and letters can be read, at 400 and 1,400 pixels',
  async () => {
    const script = posting(`
    const look = (name, width) => new Promise((resolve) => {
      const frame = document.createElement('iframe')
      frame.style = 'border: 0; height: 1000px; width: ' + width + 'px'
      frame.onload = () => {
        const page = frame.contentDocument
        const root = page.documentElement
        const wrong = root.scrollWidth > root.clientWidth ? ['is ' + root.scrollWidth + ' wide'] : []
        for (const chart of page.querySelectorAll('figure > svg')) {
          const box = chart.getBoundingClientRect()
          if (box.width / 360 * 12 < 11) wrong.push('letters of ' + box.width / 360 * 12)
          for (const text of chart.querySelectorAll('text')) {
            const { left, right, top, bottom } = text.getBoundingClientRect()
            if (left < box.left - 1 || right > box.right + 1 || top < box.top - 4 || bottom > box.bottom + 1) wrong.push(chart.ariaLabel + ' cuts off ' + text.textContent)
          }
        }
        const texts = [...page.querySelectorAll('th, td')].flatMap(({ childNodes }) => [...childNodes])
        for (const text of texts) {
          for (const word of text.data?.matchAll(/[A-Za-z]+/g) ?? []) {
            const range = page.createRange()
            range.setStart(text, word.index)
            range.setEnd(text, word.index + word[0].length)
            if (range.getClientRects().length > 1) wrong.push('breaks ' + word[0])
          }
        }
        // Cards of a fixed width may leave less than one more of them empty.
        const cards = [...page.querySelectorAll('main > .card')].map((card) => card.getBoundingClientRect())
        const empty = page.body.getBoundingClientRect().right - 16 - Math.max(...cards.map(({ right }) => right))
        if (cards.length > 7 && empty > cards[0].width + 12) wrong.push(empty + ' pixels are empty beside the cards')
        frame.remove()
        resolve({ name, width, wrong })
      }
      frame.src = '/' + name + '.html'
      document.body.append(frame)
    })
    async function run() {
      const seen = []
      for (const name of ${JSON.stringify(Object.keys(pages))}) for (const width of [400, 1400]) seen.push(await look(name, width))
      return seen
    }`)
    const serve = (path: string): string | null =>
      path === '/' ? html(`<body><script type="module">${script}</script>`) : (pages[path.slice(1, -5)] ?? null)
    const { result } = await visit<Layout[] | { error: string }>({ serve })
    expect(result).toEqual(
      Object.keys(pages).flatMap((name) => [400, 1400].map((width) => ({ name, width, wrong: [] }))),
    )
  },
)
