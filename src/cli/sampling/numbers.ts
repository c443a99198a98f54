/**
 * What `sample --save` keeps: the numbers of each batch in a file beside its pictures, so that memory holds one batch
 * and a stopped run goes on, and at the end all of them joined into one file.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeSafetensors, openCheckpoint, openFile, writeFileAtomic, type Checkpoint } from '../../io/index.node.ts'
import { encodeHeader } from '../../io/safetensors.ts'
import { slowProgress } from '../progress.ts'

/** Samples of a batch, each [batch, C, H, W]. */
export type BatchNumbers = ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>

/** The numbers of the batch that begins at sample `begin`. */
const partFile = (folder: string, begin: number): string => join(folder, `numbers-${begin}.safetensors`)

export const savePart = (folder: string, begin: number, numbers: BatchNumbers, signal: AbortSignal): Promise<void> =>
  writeFileAtomic(partFile(folder, begin), encodeSafetensors(numbers), { signal })

const opened = async <T>(path: string, use: (part: Checkpoint) => Promise<T> | T): Promise<T> => {
  const part = await openCheckpoint(await openFile(path))
  try {
    return await use(part)
  } finally {
    await part.close()
  }
}

/** Whether the batch of `count` samples that begins at `begin` is there, whole. */
export const hasPart = (folder: string, begin: number, count: number): Promise<boolean> =>
  opened(partFile(folder, begin), ({ tensors }) => tensors.get('sample')?.shape[0] === count).catch(() => false)

/** Joins the batches that begin at `begins` into the file `path`. */
export async function joinParts(
  folder: string,
  begins: readonly number[],
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const parts = begins.map((begin) => partFile(folder, begin))
  const shapes = new Map<string, number[]>()
  const bar = slowProgress('Joining the numbers', 'parts')
  let joined = 0
  for (const part of parts) {
    await opened(part, ({ tensors }) =>
      tensors.forEach(({ shape: [count, ...of] }, name) => {
        shapes.set(name, [(shapes.get(name)?.[0] ?? 0) + count, ...of])
      }),
    )
  }
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield encodeHeader(
      [...shapes].map(([name, shape]) => ({ name, dtype: 'F32', shape })),
      {},
    )
    for (const name of shapes.keys()) {
      for (const part of parts) {
        bar.update(joined++, parts.length * shapes.size)
        const { buffer, byteOffset, byteLength } = await opened(part, ({ tensors }) => tensors.get(name)!.read(signal))
        yield new Uint8Array(buffer, byteOffset, byteLength)
      }
    }
  }
  try {
    await writeFileAtomic(path, chunks(), { signal })
  } finally {
    bar.stop()
  }
}

export async function removeParts(folder: string, begins: readonly number[]): Promise<void> {
  for (const begin of begins) await rm(partFile(folder, begin), { force: true })
}
