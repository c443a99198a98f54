/**
 * What `gather.ts` and its gradient share. Tables are [outer, entries, inner], picks are [outer, picks, inner]. The
 * index of pick (o, b, i) is at o·outerStep + b·step + i·innerStep, which are zero along axes where all share one index
 * (rows of an embedding). An index outside the table is moved to its nearest end: nothing is read out of bounds.
 */
import { uniform } from './uniform.ts'

export const gatherUniform = uniform({
  /** Elements of the output. */
  count: 'u32',
  entries: 'u32',
  picks: 'u32',
  inner: 'u32',
  outerStep: 'u32',
  step: 'u32',
  innerStep: 'u32',
})

export const gatherStruct = /* wgsl */ `
${gatherUniform.wgsl()}

fn entry_of(index: i32) -> u32 { return u32(clamp(index, 0, i32(p.entries) - 1)); }
`
