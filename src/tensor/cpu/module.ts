import { deflated } from './generated/kernels.ts'

/** The kernels' module, with relaxed SIMD and shared memory. */
export async function kernelsModule(): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = Uint8Array.from(atob(deflated), (c) => c.charCodeAt(0))
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return new Uint8Array(await new Response(inflated).arrayBuffer())
}
