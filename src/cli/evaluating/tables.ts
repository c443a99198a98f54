/** What an evaluation prints and its CSV: a table a space, and a row an image. */
import {
  measures,
  type Estimate,
  type Evaluation,
  type ImageRarity,
  type MeasureName,
  type SampleNumbers,
} from '../../metrics/index.ts'
import { csvField } from '../csv.ts'

/** The tables for people, a space after another. */
export function evaluationText({ spaces, methods, measurements, classifier }: Evaluation): string {
  const parts = [...spaces.map(({ name }) => name), null].flatMap((name) => {
    const rows = measurements.filter(({ space }) => space === name)
    if (rows.length === 0) return []
    const withReal = rows.some(({ real }) => real !== null)
    const head = ['', ...methods.map((method) => method.name), ...(withReal ? ['real images'] : [])]
    const body = rows.map(({ measure, values, real }) => [
      `${measures[measure].title}${{ higher: ' ↑', lower: ' ↓', none: '' }[measures[measure].better ?? 'none']}`,
      ...values.map((value) => estimateText(value, measure)),
      ...(withReal ? [real ? estimateText(real, measure) : ''] : []),
    ])
    const space = spaces.find((one) => one.name === name)
    const title = space
      ? [`${space.name}: ${space.dimension} features; ${space.preprocessing}; weights ${space.weights}`]
      : classifier
        ? [`without features; classifier ${classifier.name}, sha256 ${classifier.sha256}`]
        : []
    return [[...title, ...aligned([head, ...body])].join('\n')]
  })
  return parts.join('\n\n')
}

/** `12.34 (11.9 to 12.8)`; a count whole. */
function estimateText(estimate: Estimate | null, measure: MeasureName): string {
  if (!estimate) return '–'
  const { value, low, high } = estimate
  if (measure === 'copies') return String(value)
  return low === null || high === null ? figure(value) : `${figure(value)} (${figure(low)} to ${figure(high)})`
}

const figure = (value: number): string => (Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(4))

const aligned = (rows: readonly (readonly string[])[]): string[] => {
  const widths = rows[0].map((_, c) => Math.max(...rows.map((row) => row[c].length)))
  return rows.map((row) =>
    row
      .map((cell, c) => cell.padEnd(widths[c]))
      .join('  ')
      .trimEnd(),
  )
}

/** The numbers of one set's images. */
export interface ImageTable {
  /** The method, or `real`. */
  readonly name: string
  readonly count: number
  readonly imageName: (index: number) => string
  readonly brightness: Float64Array
  /** By space, in the order of the spaces; of real images without those that only samples have. */
  readonly spaces: readonly (ImageRarity & Partial<Pick<SampleNumbers, 'realism' | 'inside'>>)[]
}

/** images.csv: a row an image, with its numbers in each space. Empty where an image has no such number. */
export function imageCsv(
  sets: readonly ImageTable[],
  spaces: readonly string[],
  realName: (index: number) => string,
): string {
  const columns = ['avgknn', 'lof', 'rarity', 'realism', 'balls', 'nearest', 'distance']
  const head = [
    'set',
    'image',
    'brightness',
    ...spaces.flatMap((space) => columns.map((column) => `${space}_${column}`)),
  ]
  const lines = [head.join(',')]
  for (const { name, count, imageName, brightness, spaces: numbers } of sets) {
    for (let i = 0; i < count; i++) {
      const cells = numbers.flatMap(({ avgknn, lof, rarity, realism, inside, nearest: { k, indices, distances } }) => [
        avgknn[i],
        lof[i],
        rarity[i],
        realism?.[i] ?? '',
        inside?.[i] ?? '',
        csvField(realName(indices[i * k])),
        distances[i * k],
      ])
      lines.push([csvField(name), csvField(imageName(i)), brightness[i], ...cells].join(','))
    }
  }
  return `${lines.join('\n')}\n`
}
