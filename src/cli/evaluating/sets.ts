/** The sets of images of an evaluation: opened, named, and looked at for what no measure could be told of. */
import { basename, join, resolve } from 'node:path'
import { applySelection, type ImageSet, type OpenImagesOptions } from '../../data/index.node.ts'
import { openFile, type ByteSource } from '../../io/index.node.ts'
import { sha256OfBytes } from '../../io/sha256.ts'
import {
  isStatistics,
  readStatistics,
  statisticsBesideImages,
  type EvaluatedSet,
  type StatisticsFile,
} from '../../metrics/index.ts'
import { fail } from '../arguments.ts'
import { openNoted, selectionText } from '../options/data.ts'

/** A set with the name that tables have for it. */
export interface NamedSet extends EvaluatedSet {
  readonly set: ImageSet
  /** Of real images: the statistics in their file. */
  readonly stored?: StatisticsFile | null
}

/** Where only statistics of real images were given. */
export interface NamedStatistics extends EvaluatedSet {
  readonly file: StatisticsFile
}

/** What an evaluation compares. */
export interface EvaluationSets {
  readonly methods: readonly NamedSet[]
  readonly real: NamedSet | NamedStatistics
  readonly heldOut: NamedSet | null
}

export interface SetPaths {
  readonly samples: readonly string[]
  readonly real: string
  readonly heldOut: string | undefined
  readonly select: string | undefined
  readonly skipBad: boolean
}

/** Opens all sets. Throws 'option' or 'format' for what cannot be read, mixed sizes, and one set as two methods. */
export async function openSets(
  { samples, real, heldOut, select, skipBad }: SetPaths,
  signal: AbortSignal,
): Promise<EvaluationSets> {
  const open = (path: string, statistics = false) => opened(path, { signal, skipBad }, statistics)
  const methods: NamedSet[] = []
  for (const path of samples) {
    if (await statisticsIn(path, signal)) {
      fail(`--samples ${path} holds statistics: name the images, of which all is measured. Statistics may be --real.`)
    }
    methods.push(named(await open(path), nameOf(path, samples)))
  }
  const twice = methods.find((method, m) => methods.findIndex(({ path }) => path === method.path) !== m)
  if (twice) fail(`--samples ${twice.path} is given twice.`)
  const file = await statisticsIn(real, signal)
  if (file) {
    if (select !== undefined || heldOut !== undefined)
      fail(`--real ${real} holds statistics, of which no part can be held out.`)
    return { methods, real: file, heldOut: null }
  }
  const stored = select === undefined ? await storedIn(real, signal) : null
  const all = await open(real, stored !== null)
  if (select === undefined) {
    const held = heldOut === undefined ? null : named(await open(heldOut), 'held-out')
    if (held?.fingerprint === all.fingerprint)
      fail(`--held-out ${heldOut} has the images of --real: expected others, that the model was not trained on.`)
    return { methods, real: { ...named(all, 'real'), stored }, heldOut: held }
  }
  if (heldOut !== undefined) fail('--select says what was held out: leave out --held-out.')
  const text = await selectionText(select)
  const part = (name: string): NamedSet => named(applySelection(all, text, name, select), name)
  return { methods, real: { ...part('train'), name: 'real' }, heldOut: part('held-out') }
}

const named = (set: ImageSet, name: string): NamedSet => ({
  name,
  path: resolve(set.name),
  images: set.length,
  fingerprint: set.fingerprint,
  ...(set.leftOut && { leftOut: set.leftOut }),
  set,
})

/** The file's or folder's own name, where no other has the same. */
function nameOf(path: string, paths: readonly string[]): string {
  const short = (one: string): string => basename(resolve(one)).replace(/\.npz$/, '')
  return paths.filter((one) => short(one) === short(path)).length === 1 ? short(path) : path
}

/** `statistics`: whether its mu and sigma are read, and told of, elsewhere. */
async function opened(path: string, options: OpenImagesOptions, statistics: boolean): Promise<ImageSet> {
  const set = await openNoted(
    path,
    options,
    (note) => !statistics || !/^array "(mu|sigma)(_s)?" .*is not used\.$/.test(note),
  )
  const first = sizeText(set, 0)
  for (let i = 1; i < set.length; i++) {
    if (sizeText(set, i) === first) continue
    // Beside the folders of several methods lies a sheet of them all.
    const sheet = [0, i].map((index) => set.imageName(index)).find((name) => /(^|\/)contact-sheet\.png$/.test(name))
    if (sheet !== undefined) {
      const one = set
        .imageName(set.length - 1)
        .split('/')
        .slice(0, -1)
        .join('/')
      fail(`${set.name}: ${sheet} is no sample: name the folder of one method, ${join(set.name, one)}.`)
    }
    fail(
      `${set.name}: expected images of one size, found ${first} (${set.imageName(0)}) and ${sizeText(set, i)} ` +
        `(${set.imageName(i)}): make them equal with tweedie shrink.`,
    )
  }
  return set
}

/** For people: the size of an image. */
export function sizeText(set: ImageSet, index: number): string {
  const { width, height } = set.sizeOf(index)
  return `${width} x ${height}`
}

async function statisticsIn(path: string, signal: AbortSignal): Promise<NamedStatistics | null> {
  return inNpz(path, async (source) => {
    if (!(await isStatistics(source, signal))) return null
    const fingerprint = await sha256OfBytes(await source.read(0, source.size, signal))
    return { name: 'real', path: resolve(path), images: null, fingerprint, file: await readStatistics(source, signal) }
  })
}

const storedIn = (path: string, signal: AbortSignal): Promise<StatisticsFile | null> =>
  inNpz(path, (source) => statisticsBesideImages(source, signal))

/** What is found in an .npz; null of other files and of folders. */
async function inNpz<T>(path: string, find: (source: ByteSource) => Promise<T | null>): Promise<T | null> {
  if (!/\.npz$/i.test(path)) return null
  const source = await openFile(path)
  try {
    return await find(source)
  } finally {
    await source.close()
  }
}
