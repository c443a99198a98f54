/** Panels of rows in packed order: what `packPanels` writes and the tiles of `src/wasm/gemm-tile.ts` read. */
import { cut, type Encoder } from '../launch.ts'
import type { Buffer } from '../params.ts'

/** How `rows` are cut: `sixes` panels of 6, then `fours` of 4, as few rows too many as possible. */
export function rowPanels(rows: number): { readonly sixes: number; readonly fours: number; readonly padded: number } {
  const [whole, rest] = [Math.floor(rows / 6), rows % 6]
  const [sixes, fours] =
    rest === 0 ? [whole, 0] : rest === 5 ? [whole + 1, 0] : rest > 2 ? [whole, 1] : whole > 0 ? [whole - 1, 2] : [0, 1]
  return { sixes, fours, padded: sixes * 6 + fours * 4 }
}

/**
 * Where a matrix's elements lie, in floats: `start` + row · `rowStep` + Σ of k's loops, [extent, step], outermost
 * first.
 */
export interface PanelSource {
  readonly buffer: Buffer
  readonly start?: number
  readonly rowStep: number
  readonly k: readonly (readonly [number, number])[]
}

/** `matrices` of them, `step` floats apart; `target` has room for (padded rows · k) floats each. */
export function packPanels(
  encoder: Encoder,
  source: PanelSource,
  rows: number,
  target: Buffer,
  { heights = null as 8 | null, matrices = 1, step = 0 } = {},
): void {
  const { sixes, fours, padded } = heights
    ? { sixes: 0, fours: Math.ceil(rows / 8), padded: Math.ceil(rows / 8) * 8 }
    : rowPanels(rows)
  const k = source.k.reduce((product, [extent]) => product * extent, 1)
  // A loop that goes on where the next one ends is one with it: most convolutions' taps lie as they are read, and whole
  // rows of them are transposed five times as fast.
  const merged = source.k.reduceRight<(readonly [number, number])[]>((inner, [extent, by]) => {
    const [next, ...rest] = inner
    // biome-ignore lint/performance/noAccumulatingSpread: of three loops at most
    return next && by === next[0] * next[1] ? [[extent * next[0], next[1]], ...rest] : [[extent, by], ...inner]
  }, [])
  const [[outer, outerStep], [middle, middleStep], [inner, innerStep]] = [...merged, [1, 0], [1, 0]]
  const panels = sixes + fours
  const { chunks, each } = cut(panels * matrices, 2 ** 15 / (k * 6))
  encoder.run({
    kernel: 'packPanels',
    chunks,
    params: {
      source: source.buffer,
      target,
      rows,
      first: sixes,
      firstHeight: 6,
      height: heights ?? 4,
      panels,
      rowStep: source.rowStep,
      outer,
      outerStep,
      middle,
      middleStep,
      inner,
      innerStep,
      sourceBatch: step,
      targetBatch: padded * k,
      items: panels * matrices,
      each,
      start: source.start ?? 0,
    },
  })
}
