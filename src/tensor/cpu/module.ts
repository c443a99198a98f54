import { chunk } from '../../chunk.ts'

/** The kernels' module, with relaxed SIMD and shared memory. */
export async function kernelsModule(): Promise<Uint8Array<ArrayBuffer>> {
  // By itself: among other code gzip takes 2 KB more for it, because it codes letters of both by one table.
  const { deflated } = await chunk('cpu-unavailable', "of the CPU backend's kernels", import('./generated/module.ts'))
  const bytes = Uint8Array.from(atob(deflated), (c) => c.charCodeAt(0))
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return new Uint8Array(await new Response(inflated).arrayBuffer())
}
