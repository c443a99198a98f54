import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { TweedieError } from '../errors.ts'
import { exists, removeAbandoned, writeText } from '../io/file.node.ts'
import {
  convertToSafetensors,
  download,
  openCheckpoint,
  openFile,
  writeFileAtomic,
  type Checkpoint,
  type Downloaded,
} from '../io/index.node.ts'
import { checkStateDict, configMetadata, lpipsStateDict, planOf, preset as presetOf, stateDictOf } from '../nn/index.ts'
import { withoutCounters } from '../nn/fold.ts'
import { shapesOf } from '../nn/state-dict.ts'
import type { CatalogueEntry, PublishedFile } from './catalogue.ts'

/** Options of {@link fetchWeights}. */
export interface FetchOptions {
  readonly signal?: AbortSignal
  /** File, bytes that are there, and all of them where the server says so. */
  readonly onProgress?: (file: string, done: number, total: number | null) => void
  /** A file for which no full sha256 is published came for the first time; where its hash is recorded. */
  readonly onHash?: (file: string, sha256: string, record: string) => void
}

/**
 * Downloads an entry into `folder`, checks it, converts it to NAME.safetensors with what network it is, unless that is
 * there, and resolves to its path. Nothing half-done is ever under that name, and two processes may do the same at
 * once.
 *
 * @throws TweedieError as {@link download}; 'format' where a file is not the one of the first download; 'weights' where
 *   its tensors are not those of the network it should be
 */
export async function fetchWeights(
  entry: CatalogueEntry,
  folder: string,
  { signal = new AbortController().signal, ...options }: FetchOptions = {},
): Promise<string> {
  const path = weightsIn(folder, entry)
  if (await exists(path)) return path
  // A process that was killed while it converted left this much.
  if (await exists(folder)) await removeAbandoned(folder, (name) => name === basename(path))
  const get = <T>(file: PublishedFile, use: (checkpoint: Checkpoint, sha256: string) => Promise<T>): Promise<T> =>
    getChecked(file, folder, { signal, ...options }, use)
  const source = (...files: [PublishedFile, string][]): Record<string, object> => ({
    source: files.map(([{ url }, sha256]) => ({ url, sha256 })),
  })
  if (entry.kind === 'model') {
    await get(entry.file, async (checkpoint, sha256) => {
      const { config, diffusion } = presetOf(entry.name)
      checkStateDict(stateDictOf(planOf(config)), shapesOf(checkpoint), entry.file.url)
      await writeFileAtomic(
        path,
        convertToSafetensors(
          checkpoint,
          { ...configMetadata(config, diffusion), preset: entry.name, ...source([entry.file, sha256]) },
          { signal },
        ),
        { signal },
      )
    })
  } else if (entry.kind === 'space') {
    await get(entry.file, async (checkpoint, sha256) => {
      const network = { ...checkpoint, tensors: withoutCounters(checkpoint.tensors) }
      checkStateDict(entry.stateDict(), shapesOf(network), entry.file.url)
      await writeFileAtomic(path, convertToSafetensors(network, source([entry.file, sha256]), { signal }), { signal })
    })
  } else {
    await get(entry.backbone, (backbone, backboneHash) =>
      get(entry.lin, async (lin, linHash) => {
        const joined = joinLpips(entry, backbone, lin)
        await writeFileAtomic(
          path,
          convertToSafetensors(joined, source([entry.backbone, backboneHash], [entry.lin, linHash]), { signal }),
          { signal },
        )
      }),
    )
  }
  return path
}

/** Where an entry of the catalogue lies in a folder, once it is fetched. */
export const weightsIn = (folder: string, { name }: CatalogueEntry): string => join(folder, `${name}.safetensors`)

/** Downloads a file, compares its hash with the published and the recorded one, and opens it. */
async function getChecked<T>(
  file: PublishedFile,
  folder: string,
  { signal, onProgress, onHash }: FetchOptions & { signal: AbortSignal },
  use: (checkpoint: Checkpoint, sha256: string) => Promise<T>,
): Promise<T> {
  const name = basename(new URL(file.url).pathname)
  const digits = file.sha256?.digits
  return download(
    file.url,
    folder,
    name,
    async (found) => {
      if (digits?.length !== 64) await compareWithFirst(found, name, folder, { signal, ...(onHash && { onHash }) })
      const checkpoint = await openCheckpoint(await openFile(found.path), { signal })
      try {
        return await use({ ...checkpoint, name: file.url }, found.sha256)
      } finally {
        await checkpoint.close()
      }
    },
    { signal, ...(digits && { sha256: digits }), onProgress: (done, total) => onProgress?.(name, done, total) },
  )
}

/** The record is a line as sha256sum writes and checks it. */
async function compareWithFirst(
  { sha256 }: Downloaded,
  name: string,
  folder: string,
  { signal, onHash }: FetchOptions,
): Promise<void> {
  const record = join(folder, `${name}.sha256`)
  const first = await readFile(record, 'utf8').then(
    (text) => text.slice(0, 64),
    () => null,
  )
  if (first === null) {
    await writeText(record, `${sha256}  ${name}\n`, signal)
    onHash?.(name, sha256, record)
  } else if (first !== sha256) {
    throw new TweedieError(
      'format',
      `${name}: the file has sha256 ${sha256}, but at its first download it was ${first}: the server ` +
        'has another file by now. ' +
        `If that is as it should be, remove ${record} and fetch again`,
    )
  }
}

/**
 * A checkpoint of both files' tensors, as {@link lpipsStateDict} lists them; the classifier behind the
 * features is left out.
 */
function joinLpips({ net }: { net: 'alex' | 'vgg' | 'squeeze' }, backbone: Checkpoint, lin: Checkpoint): Checkpoint {
  const expected = lpipsStateDict(net)
  const found = [...expected.keys()].flatMap((key) => {
    const entry = (key.startsWith('lin') ? lin : backbone).tensors.get(key)
    return entry ? [[key, entry] as const] : []
  })
  const joined: Checkpoint = {
    name: `${backbone.name} with ${lin.name}`,
    metadata: {},
    tensors: new Map(found),
    close: async () => {},
  }
  checkStateDict(expected, shapesOf(joined), joined.name)
  return joined
}
