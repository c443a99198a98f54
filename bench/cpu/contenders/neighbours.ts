/** Tweedie's search for nearest neighbours, and of its arithmetic the products alone. */
import { kNearest, type Neighbours, type Points } from '../../../src/metrics/index.ts'
import { matmul, type Device } from '../../../src/tensor.ts'
import type { NeighboursTask } from '../clock.ts'
import { readTensor, type Prepared } from '../protocol.ts'

const pointsOf = ({ dir, dimension, own }: NeighboursTask): readonly [queries: Points, references: Points] => {
  const queries = { data: readTensor(dir, 'x'), dimension }
  return [queries, own ? queries : { data: readTensor(dir, 'w'), dimension }]
}

export async function neighbours(device: Device, task: NeighboursTask): Promise<Prepared> {
  const [queries, references] = pointsOf(task)
  const run = (): Promise<Neighbours> => kNearest(device, queries, references, task.k, { leaveOneOut: task.own })
  return { y: Float32Array.from((await run()).distances), run, note: device.adapter.name }
}

/**
 * As many products as the search has pairs, of one tile that is on the device already: what the search is measured by.
 */
export async function products(device: Device, task: NeighboursTask): Promise<Prepared> {
  const { y, note } = await neighbours(device, task)
  const [queries, references] = pointsOf(task)
  return { y, note, run: productsOf(device, queries, references, task.count ** 2) }
}

export function productsOf(device: Device, queries: Points, references: Points, pairs: number): () => Promise<void> {
  const { dimension } = queries
  const [rows, columns] = [504, 8160].map((most) => Math.min(most, queries.data.length / dimension))
  const tiles = Math.round(pairs / (rows * columns))
  const left = device.tensor(queries.data.subarray(0, rows * dimension), [rows, dimension])
  const right = device.tensor(references.data.subarray(0, columns * dimension), [columns, dimension])
  return () => {
    for (let i = 0; i < tiles; i++) matmul(left, right, { transposeB: true }).dispose()
    return device.flush()
  }
}
