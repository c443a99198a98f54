import type { ReduceParams } from '../../ops/reduce.ts'
import { cut, type Encoder, type Launch } from '../launch.ts'
import type { Buffer } from '../params.ts'

interface Axis {
  extent: number
  stride: number
  readonly reduced: boolean
}

/** About 25 µs of adding. */
const chunkElements = 65536
const partElements = 32768
const deepestColumn = 256

/**
 * Merges axes and decides how a reduction is cut; `src/wasm/reduce.ts` says what its kernels do. An output with more
 * than 65536 elements behind it is shared by parts of about half as many, and columns are added at most 256 deep, which
 * keeps the error of f32 sums at a few 1e-7; what the parts found is reduced again.
 */
export const reduce: Launch<ReduceParams> = (encoder, { kind, axes }, [x], [y]) => {
  const merged: Axis[] = []
  let stride = x.shape.reduce((product, n) => product * n, 1)
  x.shape.forEach((extent, i) => {
    stride /= extent
    if (extent === 1) return
    const reduced = axes.includes(i)
    const last = merged[merged.length - 1]
    if (last?.reduced === reduced) Object.assign(last, { extent: last.extent * extent, stride })
    else merged.push({ extent, stride, reduced })
  })
  if (merged.length === 0) merged.push({ extent: 1, stride: 1, reduced: false })
  along(encoder, kind === 'max', x, y, merged)
}

function along(encoder: Encoder, max: boolean, x: Buffer, y: Buffer, axes: readonly Axis[]): void {
  const inner = axes[axes.length - 1]
  const outer = axes.slice(0, -1)
  const kept = outer.filter(({ reduced }) => !reduced)
  const reduced = outer.filter((axis) => axis.reduced)
  const outputs = product(kept)
  const words = {
    x,
    max: max ? 1 : 0,
    length: inner.extent,
    keptRank: kept.length,
    reducedRank: reduced.length,
    axes: [kept, reduced].flatMap((some) => [...some.map(({ extent }) => extent), ...some.map((axis) => axis.stride)]),
  }

  if (inner.reduced) {
    const piece = Math.min(inner.extent, partElements)
    const steps = product(reduced) * Math.ceil(inner.extent / piece)
    const elements = product(reduced) * inner.extent
    const stepsEach = elements > 2 * partElements ? Math.ceil(partElements / piece) : steps
    const parts = Math.ceil(steps / stepsEach)
    const { chunks, each } = cut(outputs * parts, chunkElements / (elements / parts))
    const target = parts === 1 ? y : encoder.temporary(outputs * parts * 4)
    encoder.run({
      kernel: 'reduceRows',
      chunks,
      params: { y: target, count: outputs * parts, each, parts, steps, stepsEach, piece, ...words },
    })
    if (parts > 1)
      along(encoder, max, target, y, [
        { extent: outputs, stride: parts, reduced: false },
        { extent: parts, stride: 1, reduced: true },
      ])
    return
  }
  const steps = product(reduced)
  const parts = Math.ceil(steps / deepestColumn)
  const stepsEach = Math.ceil(steps / parts)
  const piece = Math.min(inner.extent, Math.ceil(partElements / stepsEach / 32) * 32)
  const count = outputs * Math.ceil(inner.extent / piece) * parts
  const { chunks, each } = cut(count, chunkElements / (stepsEach * piece))
  const target = parts === 1 ? y : encoder.temporary(parts * outputs * inner.extent * 4)
  encoder.run({
    kernel: 'reduceColumns',
    chunks,
    params: { y: target, count, each, parts, steps, stepsEach, piece, ...words },
  })
  if (parts > 1)
    along(encoder, max, target, y, [
      { extent: parts, stride: outputs * inner.extent, reduced: true },
      { extent: outputs * inner.extent, stride: 1, reduced: false },
    ])
}

const product = (axes: readonly Axis[]): number => axes.reduce((n, { extent }) => n * extent, 1)
