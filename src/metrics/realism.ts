import type { Device } from '../tensor/index.ts'
import { leastRatio, type Balls } from './distances.ts'
import type { Points, SearchOptions } from './nearest.ts'
import { quantiles } from './quantiles.ts'
import { rowsOf } from './rows.ts'

/**
 * The realism of each sample, [N]: the largest ratio of a real image's radius to the distance from it, over the half of
 * the balls that are no larger than the median, since the others are around outliers (Kynkäänniemi et al., NeurIPS
 * 2019, 3.2). From 1 on a ball holds the sample; Infinity for a copy of a real image. Errors are those of `leastRatio`.
 */
export async function realism(
  device: Device,
  samples: Points,
  { centres, radii }: Balls,
  options: SearchOptions = {},
): Promise<Float64Array> {
  const [median] = quantiles(radii, [0.5])
  const rows = Array.from(radii, (_, j) => j).filter((j) => radii[j] <= median)
  const balls = { centres: rowsOf(centres, rows), radii: Float64Array.from(rows, (j) => radii[j]) }
  return (await leastRatio(device, samples, balls, options)).map((ratio) => 1 / ratio)
}
