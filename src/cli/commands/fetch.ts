/**
 * `tweedie fetch`: published weights by name, downloaded, checked, converted to safetensors with what network they are,
 * and kept in the user's cache folder, where the next call finds them.
 */
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { TweedieError } from '../../errors.ts'
import { removeAbandoned } from '../../io/file.node.ts'
import { convertToSafetensors, download, writeFileAtomic, type Checkpoint, type Downloaded } from '../../io/index.node.ts'
import { checkStateDict, configMetadata, lpipsStateDict, planOf, preset as presetOf, stateDictOf } from '../../nn/index.ts'
import { shapesOf } from '../../nn/state-dict.ts'
import { cacheFile } from '../../platform/cache.node.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { exists } from '../exists.ts'
import { catalogue, filesOf, type CatalogueEntry, type PublishedFile } from './fetch-catalogue.ts'
import { openWeights } from '../files.ts'
import { didYouMean, output } from '../option.ts'
import { mebibytes, progress, type Progress } from '../progress.ts'
import { writeText } from '../write-text.ts'

const options = {
  to: output({ value: 'DIR', help: 'folder to keep them in', otherwise: 'weights/ in the cache folder' }),
}

export const fetchCommand: Command<typeof options> = {
  name: 'fetch',
  usage: '[NAME...] [options]',
  summary: 'download published weights by name, check and convert them; without a name: list them',
  options,
  positionals: [0, catalogue.length],
  notes: [
    'Prints the path of the safetensors file, and nothing else, on standard output. A file that is there is not downloaded again; remove it to do so.',
    'A download that breaks or is stopped goes on where it ended when it is run again.',
    'The cache folder is that of the measured kernels: $XDG_CACHE_HOME/tweedie, or ~/.cache/tweedie.',
  ],
  examples: ['fetch', 'fetch 64x64_diffusion', 'sample --model $(tweedie fetch 64x64_diffusion) --labels 22', 'fetch lpips_alex lpips_vgg --to weights'],
  async run(argv, { signal }) {
    const args = parseArguments(fetchCommand, argv)
    const folder = args.path('to') ?? weightsFolder()
    const entries = args.positionals.map(entryNamed)
    if (entries.length === 0) return list(folder)
    for (const entry of entries) console.log(await fetchWithProgress(entry, folder, signal))
  },
}

/** Where `fetch` keeps weights unless told otherwise: beside the tuner's results. */
export const weightsFolder = (): string => cacheFile('weights')

/** An entry of the catalogue. @throws TweedieError 'option' for an unknown name, with the nearest one */
export function entryNamed(name: string): CatalogueEntry {
  if (name === 'celeba64_uncond') return fail('celeba64_uncond lies on Google Drive, where only a browser gets it: the README of soobin-um/sg-minority has the link. Then: tweedie convert FILE.pt celeba64_uncond.safetensors --preset celeba64_uncond')
  return catalogue.find((entry) => entry.name === name)
    ?? fail(`no published weights are known under the name "${name}"${didYouMean(name, catalogue.map((entry) => entry.name)) || '. tweedie fetch lists them.'}`)
}

async function list(folder: string): Promise<void> {
  console.log(`Published weights, kept in ${folder}`)
  for (const entry of catalogue) {
    const there = await exists(pathIn(folder, entry)) ? 'there   ' : '        '
    const checks = filesOf(entry).every(({ sha256 }) => sha256) ? 'sha256 published' : 'no sha256 published'
    console.log(`  ${there}${entry.name.padEnd(34)}${entry.licence}, ${checks}, ${[...new Set(filesOf(entry).map(({ source }) => source))].join('; ')}`)
  }
}

/** Fetches under a progress bar, and says on stderr which hashes are known to nobody else. Resolves to the path. */
export async function fetchWithProgress(entry: CatalogueEntry, folder: string, signal: AbortSignal): Promise<string> {
  let bar: { of: string; view: Progress } | null = null
  try {
    return await fetchWeights(entry, folder, {
      signal,
      onProgress: (file, done, total) => {
        if (bar?.of !== file) {
          bar?.view.stop()
          bar = { of: file, view: progress(`Downloading ${file}`, mebibytes(total ?? 0), 'MiB') }
        }
        bar.view.update(mebibytes(done))
      },
      onHash: (file, sha256, record) => console.error(`note: nobody has published a sha256 of ${file}. Found ${sha256}, kept in ${record} and compared at later downloads.`),
    })
  } finally {
    (bar as { view: Progress } | null)?.view.stop()
  }
}

export interface FetchOptions {
  readonly signal?: AbortSignal
  /** File, bytes that are there, and all of them where the server says so. */
  readonly onProgress?: (file: string, done: number, total: number | null) => void
  /** A file for which no full sha256 is published came for the first time; where its hash is recorded. */
  readonly onHash?: (file: string, sha256: string, record: string) => void
}

/**
 * Downloads an entry into `folder` as NAME.safetensors, unless it is there, and resolves to its path. Nothing half-done
 * is ever under that name, and two processes may do the same at once.
 *
 * @throws TweedieError as {@link download}; 'format' where a file is not the one of the first download; 'weights' where
 *   its tensors are not those of the network it should be
 */
export async function fetchWeights(entry: CatalogueEntry, folder: string, { signal = new AbortController().signal, ...options }: FetchOptions = {}): Promise<string> {
  const path = pathIn(folder, entry)
  if (await exists(path)) return path
  // A process that was killed while it converted left this much.
  if (await exists(folder)) await removeAbandoned(folder, (name) => name === basename(path))
  const get = <T>(file: PublishedFile, use: (checkpoint: Checkpoint, sha256: string) => Promise<T>): Promise<T> =>
    getChecked(file, folder, { signal, ...options }, use)
  const source = (...files: [PublishedFile, string][]): Record<string, object> =>
    ({ source: files.map(([{ url }, sha256]) => ({ url, sha256 })) })
  if (entry.kind === 'model') {
    await get(entry.file, async (checkpoint, sha256) => {
      const { config, diffusion } = presetOf(entry.name)
      checkStateDict(stateDictOf(planOf(config)), shapesOf(checkpoint), entry.file.url)
      await writeFileAtomic(path, convertToSafetensors(checkpoint, { ...configMetadata(config, diffusion), preset: entry.name, ...source([entry.file, sha256]) }, { signal }), { signal })
    })
  } else {
    await get(entry.backbone, (backbone, backboneHash) => get(entry.lin, async (lin, linHash) => {
      const joined = joinLpips(entry, backbone, lin)
      await writeFileAtomic(path, convertToSafetensors(joined, source([entry.backbone, backboneHash], [entry.lin, linHash]), { signal }), { signal })
    }))
  }
  return path
}

const pathIn = (folder: string, { name }: CatalogueEntry): string => join(folder, `${name}.safetensors`)

/** Downloads a file, compares its hash with the published and the recorded one, and opens it. */
async function getChecked<T>(
  file: PublishedFile, folder: string, { signal, onProgress, onHash }: FetchOptions & { signal: AbortSignal },
  use: (checkpoint: Checkpoint, sha256: string) => Promise<T>,
): Promise<T> {
  const name = basename(new URL(file.url).pathname)
  const digits = file.sha256?.digits
  return download(file.url, folder, name, async (found) => {
    if (digits?.length !== 64) await compareWithFirst(found, name, folder, { signal, ...(onHash && { onHash }) })
    const checkpoint = await openWeights(found.path, signal)
    try {
      return await use({ ...checkpoint, name: file.url }, found.sha256)
    } finally {
      await checkpoint.close()
    }
  }, { signal, ...(digits && { sha256: digits }), onProgress: (done, total) => onProgress?.(name, done, total) })
}

/** The record is a line as sha256sum writes and checks it. */
async function compareWithFirst({ sha256 }: Downloaded, name: string, folder: string, { signal, onHash }: FetchOptions): Promise<void> {
  const record = join(folder, `${name}.sha256`)
  const first = await readFile(record, 'utf8').then((text) => text.slice(0, 64), () => null)
  if (first === null) {
    await writeText(record, `${sha256}  ${name}\n`, signal)
    onHash?.(name, sha256, record)
  } else if (first !== sha256) {
    throw new TweedieError('format', `${name}: the file has sha256 ${sha256}, but at its first download it was ${first}: the server has another file by now. ` +
      `If that is as it should be, remove ${record} and fetch again`)
  }
}

/** A checkpoint of both files' tensors, as {@link lpipsStateDict} lists them; the classifier behind the features is left out. */
function joinLpips({ net }: { net: 'alex' | 'vgg' | 'squeeze' }, backbone: Checkpoint, lin: Checkpoint): Checkpoint {
  const expected = lpipsStateDict(net)
  const found = [...expected.keys()].flatMap((key) => {
    const entry = (key.startsWith('lin') ? lin : backbone).tensors.get(key)
    return entry ? [[key, entry] as const] : []
  })
  const joined: Checkpoint = { name: `${backbone.name} with ${lin.name}`, metadata: {}, tensors: new Map(found), close: async () => {} }
  checkStateDict(expected, shapesOf(joined), joined.name)
  return joined
}
