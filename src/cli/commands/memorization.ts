/**
 * `tweedie memorization`: are samples copies of training images? Every sample's nearest training image, in pixels and
 * in the features of a feature net, beside the same distances of real images that were never trained on: a model that
 * has learned the data and not its images lies as far from them as the held-out ones do.
 */
import { totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { applySelection, encodePng, imageBatch, imageOf, type ImageSet } from '../../data/index.node.ts'
import { exists, writeText } from '../../io/file.node.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { jsonText } from '../../io/json.ts'
import {
  featureBatch,
  memorizationFigures,
  nearestInFeatures,
  nearestInPixels,
  turned,
  type NearestTraining,
  type NearestTrainingOptions,
  type Pictures,
} from '../../metrics/index.ts'
import { featureNetConfigOf, featureNetMemoryOf, loadFeatureNet } from '../../nn/index.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { contactSheet } from '../../data/contact-sheet.ts'
import { fitImages, openNoted, selectionText, skipBadOption } from '../options/data.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { openWeights, sha256OfFile } from '../files.ts'
import { distanceTable, memorizationPage, type Memorization, type Pair } from '../pages/memorization-page.ts'
import { file, images, output } from '../option.ts'
import { claimOutputs, inputsOf, jsonOf } from '../outputs.ts'
import { progress } from '../progress.ts'
import type { Session } from '../session.ts'
import { version } from '../../version.ts'
import { print } from '../print.ts'

const options = {
  samples: images({ value: 'DIR', help: 'the samples: a folder of PNGs, as sample makes it, or an .npz' }),
  train: images({ value: 'DATA', help: 'the data the model was trained on: a folder, an .npz or an IDX file' }),
  select: file({ value: 'FILE', help: 'the selection with the parts train and held-out of that data' }),
  features: file({
    value: 'FILE',
    help: 'also measure in the features of this net, as tweedie train features makes it',
  }),
  out: output({ value: 'DIR', help: 'folder for the results', default: 'out/memorization' }),
  'skip-bad': skipBadOption,
  ...deviceOptions,
}

/** Pairs shown: the nearest ones. */
const shown = 24
/** Pairs in a row of the picture. */
const across = 4

interface Sets {
  readonly samples: Pictures
  readonly train: Pictures
  readonly heldOut: Pictures
  /** The samples, then the held-out images: they are searched together. */
  readonly queries: Pictures
}

export const memorization: Command<typeof options> = {
  name: 'memorization',
  usage: '--samples DIR --train DATA --select split.json [options]',
  summary: 'look for the nearest training image of every sample',
  options,
  positionals: [0, 0],
  notes: [
    'Held-out images stand beside the samples: what is nearer to a training image than nearly all of them is ' +
      'suspicious. A training image counts in all eight symmetries of the square. Distances in pixels are root ' +
      'mean squares of differences in [-1, 1].',
    'The folder gets index.html, pairs.png (the nearest samples, each beside its training image), distances.csv ' +
      'and memorization.json. Results of other images or features are not replaced.',
  ],
  examples: [
    'memorization --samples out/cells --train bccd_cells_32.npz --select split.json --features ' +
      'runs/features/features.safetensors',
  ],
  async run(argv, session) {
    const args = parseArguments(memorization, argv)
    const computing = onDevice(session, args)
    const { signal } = computing
    const out = args.get('out')
    await using _ = await claimOutputs({
      command: 'memorization',
      inputs: inputsOf(args),
      folders: [
        {
          option: '--out',
          path: out,
          names: /^(index\.html|pairs\.png|distances\.csv|memorization\.json)$/,
          record: recordFile,
        },
      ],
    })
    const opening = { signal, skipBad: args.get('skip-bad') ?? false }
    const drawn = await openNoted(args.required('samples', ': a folder of PNGs or an .npz'), opening)
    const data = await openNoted(args.required('train', ': the data the model was trained on'), opening)
    const selection = args.required(
      'select',
      ': the file that says what was held out, as tweedie select DATA --hold-out 0.2 writes it',
    )
    const text = await selectionText(selection)
    const train = applySelection(data, text, 'train', selection)
    const heldOut = applySelection(data, text, 'held-out', selection)
    const { width: size, height } = drawn.sizeOf(0)
    if (size !== height) fail(`${drawn.name}: expected square pictures, found ${size} x ${height}.`)
    fitImages(drawn, { size })
    for (const set of [train, heldOut]) fitImages(set, { size, crop: 'center' })

    const { channels } = data
    const file = args.get('features')
    const measured = {
      samples: { path: drawn.name, number: drawn.length, ...leftOutOf(drawn) },
      data: {
        name: data.name,
        fingerprint: data.fingerprint,
        train: train.length,
        heldOut: heldOut.length,
        select: basename(selection),
        ...leftOutOf(data),
      },
      features: file === undefined ? null : { name: basename(file), sha256: await sha256OfFile(file, signal) },
    }
    await refuseOther(out, measured)
    const sets = await readSets({ drawn, heldOut, train }, { channels, size }, signal)
    const inPixels = await measure('pixels', sets, nearestInPixels, signal)
    const measures = [inPixels, ...(file === undefined ? [] : [await inFeatures(file, sets, computing)])]

    const result: Memorization = {
      program: 'tweedie',
      kind: 'memorization',
      version,
      ...measured,
      measures: measures.map(({ name, samples, heldOut }) => ({
        name,
        ...memorizationFigures(samples.distances, heldOut.distances),
      })),
    }
    const nearest = measures.map(({ name, samples }) => ({
      name,
      pairs: pairsOf(
        samples,
        sets,
        (i) => drawn.imageName(i),
        (j) => train.imageName(j),
      ),
    }))
    const write = (name: string, text: string): Promise<void> => writeText(join(out, name), text, signal)
    const pictures = nearest[0].pairs.flatMap(({ sample, training }) => [sample, training])
    await writeFileAtomic(join(out, 'pairs.png'), [encodePng(contactSheet(pictures, 2 * across))], { signal })
    await write('distances.csv', distanceTable(measures, [drawn, heldOut], train))
    await write(recordFile, `${jsonText(result, join(out, recordFile), 2)}\n`)
    await write('index.html', memorizationPage(result, nearest))
    for (const {
      name,
      samples: [, one, , , half],
      heldOut: [, heldOne, , , heldHalf],
      nearer,
    } of result.measures) {
      print(
        `${name}: samples ${figure(half)} (1 %: ${figure(one)}), held-out images ${figure(heldHalf)} (1 %: ` +
          `${figure(heldOne)}), medians of the distance to the nearest training image; ` +
          `${(100 * nearer).toFixed(1)} % of the samples are nearer than 99 % of the held-out images`,
      )
    }
    print(join(out, 'index.html'))
  },
}

const recordFile = 'memorization.json'

const leftOutOf = ({ leftOut }: ImageSet): Pick<ImageSet, 'leftOut'> => (leftOut ? { leftOut } : {})

/** Results of other images, or in other features, stay. */
async function refuseOther(
  out: string,
  { samples, data, features }: Pick<Memorization, 'samples' | 'data' | 'features'>,
): Promise<void> {
  const path = join(out, recordFile)
  if (!(await exists(path))) return
  const old = await jsonOf(path)
  if (
    old?.kind !== 'memorization' ||
    JSON.stringify([old.samples, old.data, old.features]) !== JSON.stringify([samples, data, features])
  ) {
    fail(`${out} holds the results of other images or features: choose another --out, or delete it.`)
  }
}

const figure = (value: number | undefined): string => (value ?? NaN).toPrecision(3)

interface Measured {
  readonly name: string
  readonly samples: NearestTraining
  readonly heldOut: NearestTraining
}

/** Reads all pictures into memory. Throws 'option' where they cannot fit. */
async function readSets(
  { drawn, heldOut, train }: Readonly<Record<'drawn' | 'heldOut' | 'train', ImageSet>>,
  { channels, size }: { readonly channels: 1 | 3; readonly size: number },
  signal: AbortSignal,
): Promise<Sets> {
  const area = channels * size * size
  const number = drawn.length + heldOut.length + train.length
  // The training images are there a second time, in other coordinates.
  const needed = 4 * area * (number + train.length)
  const gibibytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(1)
  if (needed > totalmem()) {
    fail(
      `${number} pictures of ${size} x ${size} take ${gibibytes(needed)} GiB of memory, and there are ` +
        `${gibibytes(totalmem())}: compare fewer samples at a time, or with a part of the training images.`,
    )
  }
  const bar = progress('Reading', number, 'pictures')
  let read = 0
  const into = async (set: ImageSet, data: Float32Array): Promise<void> => {
    for (let begin = 0; begin < set.length; begin += 256) {
      const some = Array.from({ length: Math.min(256, set.length - begin) }, (_, i) => begin + i)
      data.set((await imageBatch(set, some, { size, channels }, signal)).images, begin * area)
      bar.update((read += some.length))
    }
  }
  try {
    const data = new Float32Array((drawn.length + heldOut.length) * area)
    const [samples, held, training] = [
      data.subarray(0, drawn.length * area),
      data.subarray(drawn.length * area),
      new Float32Array(train.length * area),
    ]
    await into(drawn, samples)
    await into(heldOut, held)
    await into(train, training)
    const pictures = (data: Float32Array): Pictures => ({ channels, size, data })
    return { samples: pictures(samples), heldOut: pictures(held), train: pictures(training), queries: pictures(data) }
  } finally {
    bar.stop()
  }
}

/** One search for the samples and the held-out images together. */
async function measure(
  name: string,
  { samples, train, queries }: Sets,
  search: (pictures: Pictures, training: Pictures, options: NearestTrainingOptions) => Promise<NearestTraining>,
  signal: AbortSignal,
): Promise<Measured> {
  const bar = progress(`Nearest training images in ${name}`, 100, '%')
  try {
    const { distances, indices, symmetries } = await search(queries, train, {
      signal,
      onProgress: (done) => bar.update(Math.round(100 * done)),
    })
    const n = samples.data.length / (samples.channels * samples.size ** 2)
    return {
      name,
      samples: { distances: distances.slice(0, n), indices: indices.slice(0, n), symmetries: symmetries.slice(0, n) },
      heldOut: { distances: distances.slice(n), indices: indices.slice(n), symmetries: symmetries.slice(n) },
    }
  } finally {
    bar.stop()
  }
}

async function inFeatures(path: string, sets: Sets, { signal, requestDevice }: Session): Promise<Measured> {
  const file = await openWeights(path, signal)
  try {
    const config = featureNetConfigOf(file)
    const { channels, size } = sets.train
    if (channels > config.inChannels) fail(`${path}: a net for grey pictures, but the data are in colour.`)
    using device = await requestDevice({
      need: featureNetMemoryOf(config, { batch: featureBatch, size: [size, size] }),
      signal,
    })
    using net = await loadFeatureNet(device, file, { signal })
    return await measure(
      'features',
      sets,
      (pictures, training, options) => nearestInFeatures(device, net, pictures, training, options),
      signal,
    )
  } finally {
    await file.close()
  }
}

/** The nearest pairs, nearest first. */
function pairsOf(
  { distances, indices, symmetries }: NearestTraining,
  { samples, train }: Sets,
  sampleName: (index: number) => string,
  trainingName: (index: number) => string,
): Pair[] {
  const order = Array.from(distances.keys())
    .sort((a, b) => distances[a] - distances[b])
    .slice(0, shown)
  const { channels, size } = train
  const shape = [1, channels, size, size]
  const picture = ({ data }: Pictures, index: number): Float32Array =>
    data.subarray(index * channels * size * size, (index + 1) * channels * size * size)
  return order.map((i) => ({
    distance: distances[i],
    sampleName: sampleName(i),
    trainingName: trainingName(indices[i]),
    sample: imageOf(picture(samples, i), shape, 0),
    training: imageOf(turned({ data: picture(train, indices[i]), size }, symmetries[i]), shape, 0),
  }))
}
