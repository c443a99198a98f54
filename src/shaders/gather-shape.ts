/**
 * What `gather.ts` and its gradient share. Tables are [outer, entries, inner], picks are [outer, picks, inner]. The index
 * of pick (o, b, i) is at o·outerStep + b·step + i·innerStep, which are zero along axes where all share one index (rows
 * of an embedding). An index outside the table is moved to its nearest end: nothing is read out of bounds.
 */
export const gatherStruct = /* wgsl */ `
struct Gather { count: u32, entries: u32, picks: u32, inner: u32, outerStep: u32, step: u32, innerStep: u32 }
@group(0) @binding(0) var<uniform> p: Gather;

fn entry_of(index: i32) -> u32 { return u32(clamp(index, 0, i32(p.entries) - 1)); }
`
