/**
 * `tweedie shrink`: a set of images as small PNGs, cut and scaled once. Training does it for every batch, and
 * of photos of many megapixels decoding one takes longer than a step of training on it. What is trained on is
 * the same to the bit.
 */
import { mkdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { centerCrop, damagedImages, encodePng, type DamagedImage } from '../../data/index.ts'
import { TweedieError } from '../../errors.ts'
import { exists, writeText } from '../../io/file.node.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { jsonText } from '../../io/json.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { counted } from '../counted.ts'
import { classOptions, fitImages, openClasses } from '../options/data.ts'
import { integer, output } from '../option.ts'
import { claimOutputs, jsonOf } from '../outputs.ts'
import { progress } from '../progress.ts'
import { print } from '../print.ts'

const options = {
  ...classOptions,
  'image-size': integer({ value: 'N', min: 1, help: 'side of the squares' }),
  out: output({ value: 'DIR', help: 'folder for them' }),
}

/** In the folder; hidden, so that it is no stray file among images. */
export const shrunkRecord = '.shrunk.json'

export const shrink: Command<typeof options> = {
  name: 'shrink',
  usage: 'DATA --image-size N --out DIR',
  summary: 'cut and scale images once, so that training need not decode large ones again and again',
  options,
  positionals: [1, 1],
  notes: [
    'DATA is a folder of PNG and JPEG files, an .npz or an IDX file. Each image becomes a PNG of the same name ' +
      '(a.jpg becomes a.jpg.png) in the same sub-folder: the middle square, scaled as guided-diffusion does. ' +
      'Training with --crop center sees the same pixels as from DATA, unless it makes colour images grey.',
    'The same command goes on where it was stopped.',
  ],
  examples: ['shrink photos/ --image-size 64 --out photos64'],
  async run(argv, { signal }) {
    const args = parseArguments(shrink, argv)
    const data = args.positionals[0]
    const size = args.required('image-size', ': the side of the squares, as in --image-size 64')
    const out = resolve(args.required('out', ': a folder for the small images'))
    await using _ = await claimOutputs({
      command: 'shrink',
      inputs: [{ option: 'DATA', path: data }],
      folders: [{ option: '--out', path: out, names: /\.png$/, record: shrunkRecord }],
    })
    const set = await openClasses(data, args, signal)
    fitImages(set, { size, crop: 'center' })
    const record = {
      program: 'tweedie',
      kind: 'shrunk',
      data: set.name,
      fingerprint: set.fingerprint,
      size,
      ...(set.leftOut && { leftOut: set.leftOut }),
    }
    const path = join(out, shrunkRecord)
    const before = await jsonOf(path)
    if (before && (before.fingerprint !== set.fingerprint || before.size !== size))
      fail(
        `${out} holds the images of ${String(before.data)} at ${String(before.size)} x ${String(before.size)}, ` +
          'and these are others: choose another --out.',
      )
    await writeText(path, `${jsonText(record, path)}\n`, signal)

    const damaged: DamagedImage[] = []
    const bar = progress('Shrinking', set.length, 'images')
    try {
      for (let index = 0; index < set.length; index++) {
        signal.throwIfAborted()
        const name = set.imageName(index)
        const to = join(out, /\.png$/i.test(name) ? name : `${name}.png`)
        if (!(await exists(to))) {
          try {
            const square = centerCrop(await set.read(index, signal), size)
            await mkdir(dirname(to), { recursive: true })
            await writeFileAtomic(to, [encodePng(square)], { signal })
          } catch (error) {
            if (!(error instanceof TweedieError) || error.code !== 'format') throw error
            damaged.push({ index, error })
          }
        }
        bar.update(index + 1)
      }
    } finally {
      bar.stop()
    }
    if (damaged.length > 0) throw damagedImages(set.name, damaged)
    print(`${out}: ${counted(set.length, 'image')} of ${size} x ${size}`)
  },
}
