import type { Checkpoint } from './checkpoint.ts'
import { fileDTypes } from './dtype.ts'
import { encodeHeader } from './safetensors.ts'

/**
 * The chunks of a safetensors file with the tensors of `checkpoint`, in their order, read one by one: the whole model
 * is never in memory. Floats are written as F32, integers as what reading widens them to (`TensorData`). The
 * checkpoint's metadata is kept; `metadata` is added and wins: strings as they are, objects as JSON, which is how
 * `config` (constructor arguments of the network) and `diffusion` (noise_schedule, diffusion_steps,
 * rescale_timesteps) are stored.
 *
 * @example
 * await writeFileAtomic('model.safetensors', convertToSafetensors(checkpoint, { config, diffusion }))
 */
export async function* convertToSafetensors(
  checkpoint: Checkpoint,
  metadata: Readonly<Record<string, string | object>> = {},
  { signal }: { signal?: AbortSignal } = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  signal?.throwIfAborted()
  const added = Object.entries(metadata).map(([key, value]) => [
    key,
    typeof value === 'string' ? value : JSON.stringify(value),
  ])
  const entries = [...checkpoint.tensors.values()]
  yield encodeHeader(
    entries.map(({ name, shape, dtype }) => ({ name, shape, dtype: fileDTypes[dtype].memory })),
    { ...checkpoint.metadata, ...(Object.fromEntries(added) as Record<string, string>) },
  )
  for (const entry of entries) {
    const data = await entry.read(signal)
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  }
}
