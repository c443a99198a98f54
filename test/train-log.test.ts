/** The log of a training of any length: it fits into the header of the state file, and its means stay means. */
import { expect, test } from 'vitest'
import { encodeHeader } from '../src/io/safetensors.ts'
import { halved, Log, logCsv, type Row } from '../src/train/log.ts'

const groups = ['q0', 'q1', 'q2', 'q3']
/** A number with as many digits as they come. */
const figure = (k: number, i: number): number => 0.1 + ((k * 7919 + i * 104729) % 65537) / 65536.5

function longLog(rows: number): Log {
  const log = new Log(groups)
  for (let k = 1; k <= rows; k++) {
    const values = Object.fromEntries(
      ['loss', 'mse', 'vb'].map((name, n) => [name, Float32Array.from({ length: 4 }, (_, i) => figure(k, n * 4 + i))]),
    )
    log.add([{ values, groups: [0, 1, 2, 3] }], { gradientNorm: figure(k, 12), lr: 1e-4 })
    log.close(50 * k, 1600 * k)
  }
  return log
}

test('the longest log is written, and one row more halves it', () => {
  const log = longLog(99_999)
  expect(log.rows.length).toBe(99_999)
  // In a state file, JSON within JSON: 50 steps a row are 5 million steps.
  expect(encodeHeader([], { counters: JSON.stringify({ rows: log.rows }) }).length).toBeLessThan(80_000_000)
  const whole = (pick: (row: Row) => number, rows: readonly Row[]): number =>
    rows.reduce((sum, row) => sum + pick(row) * row.steps, 0) / rows.reduce((sum, row) => sum + row.steps, 0)
  const loss = (row: Row): number => row.values.loss.all
  const before = [...log.rows]
  log.add(
    [
      {
        values: { loss: new Float32Array(4), mse: new Float32Array(4), vb: new Float32Array(4) },
        groups: [0, 1, 2, 3],
      },
    ],
    { gradientNorm: 0, lr: 1e-4 },
  )
  log.close(5_000_000, 160_000_000)
  expect(log.rows.length).toBe(50_000)
  expect(log.rows.at(-1)).toMatchObject({ step: 5_000_000, images: 160_000_000, steps: 2 })
  // Half of the last row is zero; the mean over all of them is what it was.
  expect(log.rows.at(-1)!.values.loss.all).toBeCloseTo(loss(before.at(-1)!) / 2, 12)
  expect(whole(loss, log.rows) * 100_000).toBeCloseTo(whole(loss, before) * 99_999, 4)
})

test('two rows become their mean over images, by group too, and over steps', () => {
  const row = (
    step: number,
    steps: number,
    counts: number[],
    all: number,
    byGroup: (number | null)[],
    gradientNorm: number,
  ): Row => ({ step, images: 10 * step, steps, counts, values: { loss: { all, byGroup } }, gradientNorm, lr: 1 / step })
  const [made, last] = halved([
    row(1, 1, [1, 0], 2, [2, null], 4),
    row(4, 3, [0, 3], 6, [null, 6], 8),
    row(5, 1, [1, 0], 7, [7, null], 1),
  ])
  expect(made).toEqual(row(4, 4, [1, 3], 5, [2, 6], 7))
  expect(last).toEqual(row(5, 1, [1, 0], 7, [7, null], 1))
})

test('as CSV, by group where there is more than one', () => {
  const row: Row = {
    step: 3,
    images: 12,
    steps: 3,
    counts: [12, 0],
    values: { loss: { all: 0.5, byGroup: [0.5, null] }, vb: { all: 2, byGroup: [2, null] } },
    gradientNorm: 1.5,
    lr: 1e-4,
  }
  expect(logCsv([row], ['q0', 'q1'])).toBe(
    'step,images,loss,loss_q0,loss_q1,vb,vb_q0,vb_q1,gradient_norm,lr\n3,12,0.5,0.5,,2,2,,1.5,0.0001\n',
  )
  expect(logCsv([row], ['all'])).toBe('step,images,loss,vb,gradient_norm,lr\n3,12,0.5,2,1.5,0.0001\n')
  expect(logCsv([], ['q0', 'q1'])).toBe('step,images,gradient_norm,lr\n')
})

test('before its first row the log is the open one, which stays open', () => {
  const log = new Log(['all'])
  expect(log.rowsSoFar(0, 0)).toEqual([])
  const add = (loss: number): void =>
    log.add([{ values: { loss: new Float32Array([loss, loss]) }, groups: [0, 0] }], { gradientNorm: loss, lr: 1e-4 })
  add(1)
  add(3)
  expect(log.rowsSoFar(2, 4)).toMatchObject([{ step: 2, images: 4, steps: 2, values: { loss: { all: 2 } } }])
  expect(logCsv(log.rowsSoFar(2, 4), ['all'])).toBe('step,images,loss,gradient_norm,lr\n2,4,2,2,0.0001\n')
  expect(log.rows).toEqual([])
  add(5)
  log.close(3, 6)
  add(9)
  expect(log.rowsSoFar(4, 8)).toMatchObject([{ step: 3, values: { loss: { all: 3 } } }])
})
