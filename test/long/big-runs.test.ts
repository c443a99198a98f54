/**
 * What grows with the number of images. Runs of ../shared/cases/big-run-report: 50,000 samples of 64 x 64, 4,000 of 256
 * x 256, drawn already, end where a process may have 1,024 files open; a folder of 200,000 images is opened.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { RunRecord } from '../../src/tweedie/run-record.ts'
import { applySelection, imageBatch, openImages, selectImages } from '../../src/data/index.node.ts'
import { drawnAlready } from '../big-runs.ts'
import { temporaryFolder } from '../cli.ts'

const at = temporaryFolder()
const launcher = fileURLToPath(new URL('../../bin/tweedie.js', import.meta.url))

// Windows has no ulimit.
if (process.platform !== 'win32')
  test.each([
    [50_000, 64],
    [4000, 256],
  ])('%i samples of %i pixels', (number, side) => {
    const folder = at(`run-${number}`)
    const argv = drawnAlready(folder, number, side)
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', 'ulimit -n 1024; exec "$@"', 'sh', process.execPath, launcher, ...argv],
      { encoding: 'utf8' },
    )
    expect(status, stderr).toBe(0)
    expect(stderr).toContain(`${number} of ${number} samples are there already`)
    const record = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as RunRecord
    expect(record.status).toBe('done')
    const pages = readdirSync(folder).filter((name) => name.endsWith('.html'))
    expect(pages.length).toBe(number / 1000)
    const shown = pages.flatMap((page) =>
      [...readFileSync(join(folder, page), 'utf8').matchAll(/src="(sample-\d+\.png)"/g)].map(([, file]) => file),
    )
    expect(shown.sort()).toEqual(record.samples.map(({ file }) => file))
    for (const page of pages) expect(statSync(join(folder, page)).size).toBeLessThan(2 ** 20)
  })

test('a folder of 200,000 images', async () => {
  const folder = at('images')
  drawnAlready(folder, 200_000, 8)
  const set = await openImages(folder)
  expect(set.length).toBe(200_000)
  const selection = selectImages(set, { holdOut: 0.1 })
  expect(applySelection(set, JSON.stringify(selection), 'held-out').length).toBe(20_000)
  expect(selection.parts.train.length).toBe(180_000)
  expect(
    (
      await imageBatch(
        set,
        Array.from({ length: 4096 }, (_, i) => i),
        { size: 8, channels: 3 },
      )
    ).images.length,
  ).toBe(4096 * 192)
})
