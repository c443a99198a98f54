/** What a GPU's compiler makes of the networks' kernels, as rows of static.json, and what every kernel must keep to. */
import { plainKey } from './passes.ts'
import type { Compiled } from './radv.ts'
import { readKernel } from './wgsl.ts'

/** What is written down of a kernel. */
export type StaticRow = Pick<Compiled, 'instructions' | 'vgprs' | 'lds' | 'waves'> & {
  /** Shares of multiply-adds, of kernels that consist of them: see {@link Compiled.fmaShare}. */
  readonly inner?: number
  readonly round?: number
}

export interface StaticTable {
  /** Of the compiler: another one's figures are others. */
  readonly driver: string
  readonly kernels: Readonly<Record<string, StaticRow>>
}

/** A `map` is named by the number of its expression, which depends on what was imported; there are dozens of them. */
const hasRow = (key: string): boolean => !key.startsWith('map ')
const multiplies = (key: string): boolean => /^(attention|conv2d|gemm|matmul)/.test(key)

const rowOf = (key: string, { instructions, vgprs, lds, waves, fmaShare }: Compiled): StaticRow => ({
  instructions,
  vgprs,
  lds,
  waves,
  ...(multiplies(key) && fmaShare.inner !== null && { inner: fmaShare.inner }),
  ...(multiplies(key) && fmaShare.round !== null && { round: fmaShare.round }),
})

/**
 * The least share of multiply-adds in a round that the best kernel of a family must reach, by the beginning of its key:
 * what was reached once and is not to be lost.
 */
const leastRound: Readonly<Record<string, number>> = {
  'conv2d-halo': 0.88,
  'conv2d-weight-gradient-halo': 0.87,
  gemm: 0.8,
}

/** What a kernel's text asks for beyond WebGPU's default limits, which every kernel must do with. */
export function textFaults(kernels: ReadonlyMap<string, string>): string[] {
  return [...kernels].flatMap(([key, code]) => {
    const { storageBuffers, uniformBuffers, workgroupBytes, threads } = readKernel(code)
    return [
      storageBuffers > 8 && `${storageBuffers} storage buffers`,
      uniformBuffers > 1 && `${uniformBuffers} uniform buffers`,
      workgroupBytes > 16_384 && `${workgroupBytes} bytes of workgroup memory`,
      threads > 256 && `${threads} threads`,
    ].flatMap((fault) => (fault ? [`${plainKey(key)}: ${fault}`] : []))
  })
}

/**
 * What is wrong with compiled kernels, whatever compiled them. More than 128 registers are a fault where they decide
 * how many subgroups run side by side: of 1536. Where workgroup memory allows fewer, the compiler spends what is left
 * over.
 */
export function faults(compiled: ReadonlyMap<string, Compiled>): string[] {
  return [...compiled].flatMap(([key, { spills, scratch, vgprs, lds, waves }]) =>
    [
      spills > 0 && `${spills} registers spilled`,
      scratch > 0 && `${scratch} bytes of scratch memory`,
      vgprs > 128 && waves >= Math.floor(1536 / vgprs) && `${vgprs} vector registers`,
      lds > 16_384 && `${lds} bytes of workgroup memory`,
    ].flatMap((fault) => (fault ? [`${plainKey(key)}: ${fault}`] : [])),
  )
}

/** Families whose best kernel multiplies less than it did once, on RDNA 3; of RDNA 4 RADV prints no assembly. */
export function sharesLost(compiled: ReadonlyMap<string, Compiled>): string[] {
  return Object.entries(leastRound).flatMap(([family, least]) => {
    const rounds = [...compiled].flatMap(([key, { fmaShare }]) =>
      key.startsWith(`${family} `) ? [fmaShare.round ?? 0] : [],
    )
    const best = Math.max(...rounds)
    return best >= least ? [] : [`${family}: at most ${best} of a round are multiply-adds, once it was ${least}`]
  })
}

/** The rows of kernels that were compiled. */
export function tableOf(driver: string, compiled: ReadonlyMap<string, Compiled>): StaticTable {
  const rows = [...compiled].filter(([key]) => hasRow(key)).sort(([a], [b]) => (a < b ? -1 : 1))
  return { driver, kernels: Object.fromEntries(rows.map(([key, report]) => [plainKey(key), rowOf(key, report)])) }
}

/** The table as JSON, a line a kernel. */
export function formatTable({ driver, kernels }: StaticTable): string {
  const rows = Object.entries(kernels).map(
    ([key, row]) => `    ${JSON.stringify(key)}: ${JSON.stringify(row).replaceAll(/([:,])(?=["\d])/g, '$1 ')}`,
  )
  return `{\n  "driver": ${JSON.stringify(driver)},\n  "kernels": {\n${rows.join(',\n')}\n  }\n}\n`
}

/** Where two tables differ: instructions by more than 5 %, shares by more than 0.02, anything else at all. */
export function differences(now: StaticTable, then: StaticTable): string[] {
  const keys = [...new Set([...Object.keys(then.kernels), ...Object.keys(now.kernels)])].sort()
  return keys.flatMap((key) => {
    const [before, after] = [then.kernels[key], now.kernels[key]]
    if (!before || !after) return [`${key}: ${before ? 'gone' : 'new'}`]
    const changed = (['instructions', 'vgprs', 'lds', 'waves', 'inner', 'round'] as const).filter((figure) => {
      const [a, b] = [before[figure] ?? 0, after[figure] ?? 0]
      if (figure === 'instructions') return Math.abs(b - a) > 0.05 * a
      return figure === 'inner' || figure === 'round' ? Math.abs(b - a) > 0.02 : a !== b
    })
    return changed.map((figure) => `${key}: ${figure} ${before[figure]} before, ${after[figure]} now`)
  })
}
