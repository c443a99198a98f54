/** The five minutes of docs/training.md, as they stand there: the installed package, 40 images, an empty folder. */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { encodePng, imageBatch, openImages, type ImageSet } from '../../src/data/index.node.ts'
import { commandIn, writePictures } from '../forty-images.ts'
import { emptyProject } from '../packed.ts'
import { hasShared, shared } from '../shared.ts'

const docs = readFileSync(fileURLToPath(new URL('../../docs/training.md', import.meta.url)), 'utf8')

/** 40 cells of all kinds; without ../shared 40 discs. */
async function writeFolder(folder: string): Promise<void> {
  if (!hasShared) return void writePictures(folder)
  const cells = await openImages(shared('data/bccd_cells_32.npz'))
  mkdirSync(folder)
  for (let k = 0; k < 40; k++)
    writeFileSync(join(folder, `${k}.png`), encodePng(await cells.read(Math.floor((k * cells.length) / 40))))
}

interface Look {
  readonly mean: readonly number[]
  /** Mean difference of neighbours beside the standard deviation: 1.13 for Gaussian noise. */
  readonly roughness: number
}

/** What pictures look like, in numbers. */
async function look(set: ImageSet): Promise<Look> {
  const { width: size } = set.sizeOf(0)
  const { images } = await imageBatch(
    set,
    Array.from({ length: set.length }, (_, i) => i),
    { size, channels: 3 },
  )
  const area = size * size
  const planes = Array.from({ length: set.length * 3 }, (_, p) => images.subarray(p * area, (p + 1) * area))
  const mean = (values: ArrayLike<number>): number =>
    (Array.prototype.reduce.call(values, (a, b) => (a as number) + (b as number), 0) as number) / values.length
  const differences = planes.map(
    (plane) =>
      (mean(plane.map((value, i) => (i % size === 0 ? 0 : Math.abs(value - plane[i - 1])))) * size) / (size - 1),
  )
  const deviations = planes.map((plane) => Math.sqrt(mean(plane.map((value) => (value - mean(plane)) ** 2))))
  return {
    mean: [0, 1, 2].map((c) => mean(planes.filter((_, p) => p % 3 === c).map(mean))),
    roughness: mean(differences) / mean(deviations),
  }
}

test('40 images become a model and its samples', async () => {
  const folder = await emptyProject()
  try {
    await writeFolder(join(folder, 'my-images'))
    await promisify(execFile)('npx', commandIn(docs), {
      cwd: folder,
      maxBuffer: 2 ** 26,
      shell: process.platform === 'win32',
    })
    const at = (path: string): string => join(folder, 'out/mine', path)

    const { measured, stages } = JSON.parse(readFileSync(at('recipe.json'), 'utf8')) as {
      measured: object
      stages: { command: string; seconds: number }[]
    }
    expect(stages.map(({ command }) => command)).toEqual(
      expect.arrayContaining(['train diffusion', 'score', 'label', 'train classifier', 'quickstart', 'memorization']),
    )
    console.log(JSON.stringify(measured), stages.map(({ command, seconds }) => `${command} ${seconds} s`).join(', '))
    for (const page of [
      'diffusion/report.html',
      'scores.html',
      'classifier/report.html',
      'drawn/report.html',
      'memorization/index.html',
    ])
      expect(readFileSync(at(page), 'utf8')).toMatch(/^<!doctype html>/i)

    const [head, ...rows] = readFileSync(at('diffusion/log.csv'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(','))
    const losses = rows.map((row) => Number(row[head.indexOf('loss')]))
    const over = (part: readonly number[]): number => part.reduce((a, b) => a + b) / part.length
    expect(losses.length).toBeGreaterThan(50)
    expect(over(losses.slice(-10))).toBeLessThan(0.5 * over(losses.slice(0, 5)))

    const real = await look(await openImages(join(folder, 'my-images')))
    const drawn = await look(await openImages(at('drawn/plain')))
    console.log(JSON.stringify({ real, drawn, losses: [losses[0], over(losses.slice(-10))] }))
    // Values are in [-1, 1]: an untrained model draws grey noise at 0, and cells are at 0.4 to 0.7.
    real.mean.forEach((value, c) => expect(Math.abs(drawn.mean[c] - value)).toBeLessThan(0.2))
    // 0.37 on two cores with nothing else to do, where cells are drawn at 32 x 32; 0.97 where ten others ran beside it.
    expect(drawn.roughness).toBeLessThan(1)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
