/** `tweedie fetch`: published weights by name, kept in the user's cache folder, where the next call finds them. */
import { exists } from '../../io/file.node.ts'
import { cacheFile } from '../../platform/cache.node.ts'
import { catalogue, filesOf, type CatalogueEntry } from '../../tweedie/catalogue.ts'
import { fetchWeights, weightsIn } from '../../tweedie/fetch.node.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { didYouMean, output } from '../option.ts'
import { mebibytes, progress, type Progress } from '../progress.ts'
import { print, tell } from '../print.ts'

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
    'Prints the path of the safetensors file, and nothing else, on standard output. A file that is there is not ' +
      'downloaded again; remove it to do so.',
    'A download that breaks or is stopped goes on where it ended when it is run again. Through a proxy where ' +
      'HTTPS_PROXY names one, but for the hosts of NO_PROXY.',
    'The cache folder is that of the measured kernels: $XDG_CACHE_HOME/tweedie, or ~/.cache/tweedie.',
  ],
  examples: [
    'fetch',
    'fetch 64x64_diffusion',
    'sample --model $(tweedie fetch 64x64_diffusion) --labels 22',
    'fetch lpips_alex lpips_vgg --to weights',
  ],
  async run(argv, { signal }) {
    const args = parseArguments(fetchCommand, argv)
    const folder = args.path('to') ?? weightsFolder()
    const entries = args.positionals.map(entryNamed)
    if (entries.length === 0) return list(folder)
    for (const entry of entries) print(await fetchWithProgress(entry, folder, signal))
  },
}

/** Where `fetch` keeps weights unless told otherwise: beside the tuner's results. */
export const weightsFolder = (): string => cacheFile('weights')

/** An entry of the catalogue. @throws TweedieError 'option' for an unknown name, with the nearest one */
export function entryNamed(name: string): CatalogueEntry {
  if (name === 'celeba64_uncond')
    return fail(
      'celeba64_uncond lies on Google Drive, where only a browser gets it: the README of soobin-um/sg-minority ' +
        'has the link. Then: tweedie convert FILE.pt celeba64_uncond.safetensors --preset celeba64_uncond',
    )
  return (
    catalogue.find((entry) => entry.name === name) ??
    fail(
      `no published weights are known under the name "${name}"${
        didYouMean(
          name,
          catalogue.map((entry) => entry.name),
        ) || '. tweedie fetch lists them.'
      }`,
    )
  )
}

async function list(folder: string): Promise<void> {
  print(`Published weights, kept in ${folder}`)
  for (const entry of catalogue) {
    const there = (await exists(weightsIn(folder, entry))) ? 'there   ' : '        '
    const checks = filesOf(entry).every(({ sha256 }) => sha256) ? 'sha256 published' : 'no sha256 published'
    print(
      `  ${there}${entry.name.padEnd(34)}${entry.licence}, ${checks}, ` +
        `${[...new Set(filesOf(entry).map(({ source }) => source))].join('; ')}`,
    )
  }
}

/** Fetches under a progress bar, and says on stderr which hashes are known to nobody else. Resolves to the path. */
export async function fetchWithProgress(entry: CatalogueEntry, folder: string, signal: AbortSignal): Promise<string> {
  let told = false
  let bar: { of: string; view: Progress } | null = null
  try {
    const path = await fetchWeights(entry, folder, {
      signal,
      onProgress: (file, done, total) => {
        if (bar?.of !== file) {
          bar?.view.stop()
          bar = { of: file, view: progress(`Downloading ${file}`, mebibytes(total ?? 0), 'MiB') }
        }
        bar.view.update(mebibytes(done))
      },
      onHash: (file, sha256, record) => {
        told = true
        tell(
          `note: nobody has published the whole sha256 of ${file}. Found ${sha256}, kept in ${record} and ` +
            'compared at later downloads.',
        )
      },
    })
    const unknown = filesOf(entry).filter(({ sha256 }) => sha256?.digits.length !== 64)
    if (!told && unknown.length > 0)
      tell(
        `note: ${entry.name}: nobody has published the whole sha256 of ` +
          `${unknown.map(({ url }) => url.slice(url.lastIndexOf('/') + 1)).join(' and ')}: that the file is the one ` +
          'of its first download here is all that is known.',
      )
    return path
  } finally {
    ;(bar as { view: Progress } | null)?.view.stop()
  }
}
