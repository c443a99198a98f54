/** What `sample --npz` writes: the pictures of a finished run in one file, which says whose it is. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeImage, type Image } from '../../data/index.ts'
import { encodeSamplesNpz } from '../../data/npz-writer.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { openFile } from '../../io/file.node.ts'
import type { RunRecord } from '../../tweedie/run-record.ts'
import { sha256Of } from '../files.ts'
import { slowProgress } from '../progress.ts'

/** The archive's comment: by it a file is known as ours, and as that of these samples. */
const commentOf = ({ samples }: RunRecord): string =>
  `${mark}${sha256Of(new TextEncoder().encode(samples.map(({ sha256, label }) => `${sha256} ${label}`).join()))}`
const mark = 'tweedie sample '

/** The last bytes of a file as text, as long as a comment of ours. */
async function endOf(path: string): Promise<string> {
  const file = await openFile(path)
  try {
    const length = Math.min(file.size, mark.length + 64)
    return new TextDecoder('latin1').decode(await file.read(file.size - length, length))
  } finally {
    await file.close()
  }
}

/** Of a file that is there, for the outputs of `sample`. */
export const keepsOtherSamples = async (path: string): Promise<string | null> =>
  (await endOf(path)).startsWith(mark) ? null : 'holds something else than this command writes'

/** Writes the pictures of the run in `folder` to `path`, one after another, unless they are there. */
export async function writeSamplesNpz(
  path: string,
  folder: string,
  record: RunRecord,
  signal: AbortSignal,
): Promise<void> {
  const { samples } = record
  const comment = commentOf(record)
  if ((await endOf(path).catch(() => '')) === comment) return
  const picture = async (file: string): Promise<Image> => decodeImage(await readFile(join(folder, file)), file)
  const { width, height } = await picture(samples[0].file)
  const bar = slowProgress('Writing the .npz', 'samples')
  async function* images(): AsyncGenerator<Image> {
    for (const [k, { file }] of samples.entries()) {
      yield await picture(file)
      bar.update(k + 1, samples.length)
    }
  }
  const labels = samples.flatMap(({ label }) => label ?? [])
  try {
    await writeFileAtomic(
      path,
      encodeSamplesNpz({
        count: samples.length,
        width,
        height,
        images: images(),
        comment,
        ...(labels.length > 0 && { labels }),
      }),
      { signal },
    )
  } finally {
    bar.stop()
  }
}
