/** `tweedie score`: a table of minority scores for a folder of PNGs. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../io/index.node.ts'
import { memoryOf, type UNet } from '../nn/index.ts'
import { fail, parseArguments, type Command } from './arguments.ts'
import { deviceOptions, onDevice } from './device.ts'
import { loadWithProgress, openModel } from './files.ts'
import { readPng } from './image.ts'
import { cycled, distanceSettings, labelsFor, processOptions, processSettings } from './options.ts'
import { progress } from './progress.ts'
import { scorer, varianceTypeOf } from './scoring.ts'
import { distanceNeeds, loadDistance, together } from './setup.ts'

const options = {
  ...processOptions,
  images: { value: 'DIR', help: "folder of PNGs of the model's size" },
  out: { value: 'scores.csv', help: 'the table: name,score in the order of names', default: 'scores.csv' },
  step: { value: 'INDEX', help: 'strength of the noise, as an index of 100 steps', default: '90 for cosine, 60 for linear' },
  draws: { value: 'N', help: 'noise draws averaged', default: '1' },
  labels: { value: '3,8', help: 'classes of the images for a class-conditional model, in the order of names; fewer than images start over' },
  batch: { value: 'N', help: 'images at a time', default: '8' },
  seed: { value: 'N', help: 'image k of a seed gets the same noise in any batch', default: '0' },
  ...deviceOptions,
} as const

export const score: Command = {
  name: 'score',
  usage: '--model M.safetensors --images DIR [options]',
  summary: 'write minority scores for a folder of PNGs',
  options,
  positionals: [0, 0],
  notes: ['The minority score (Um et al., ICLR 2024) is the distance of an image from what the model makes of it after it was drowned in noise. The papers measure it with LPIPS (vgg).'],
  examples: ['score --model weights/bccd32-adm.safetensors --images out/sample --out scores.csv --draws 4'],
  async run(argv, session) {
    const args = parseArguments<keyof typeof options>(score, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const file = await openModel(args.required('model'), args.text('preset'), signal)
    try {
      const { config } = file.description
      if (config.kind !== 'unet' || config.superResolution) fail(`${file.path}: scores need a U-Net that draws images by itself.`)
      const process = processSettings(args, file.description)
      const labels = labelsFor(args, config)
      const [step, draws, seed] = [args.integer('step'), args.integer('draws', { min: 1 }), args.integer('seed') ?? 0]
      const wanted = args.integer('batch', { min: 1, max: 4096 }) ?? 8
      const folder = args.required('images')
      const entries = await readdir(folder).catch((error: NodeJS.ErrnoException) => fail(`cannot read the folder ${folder}: ${error.code === 'ENOENT' ? 'there is none of that name' : error.message}.`))
      // In a folder that `sample` made, the contact sheet is no sample.
      const ownSheet = entries.includes('run.json') ? 'contact-sheet.png' : null
      const names = entries.filter((name) => /\.png$/i.test(name) && name !== ownSheet).sort()
      if (names.length === 0) fail(`${folder} holds no PNG.`)
      // All of them are looked at before the device is asked for: a picture that does not fit shows at once.
      const shape = { channels: config.inChannels, size: config.imageSize }
      for (const name of names) {
        await readPng(join(folder, name), shape)
        signal.throwIfAborted()
      }
      const batch = Math.min(wanted, names.length)
      const distances = distanceSettings(args)
      const needs = [memoryOf(config, { batch }), ...await distanceNeeds(distances, { batch, size: [config.imageSize, config.imageSize] }, signal)]
      using device = await requestDevice({ need: together(needs), signal })
      using model = await loadWithProgress(device, file, signal) as UNet
      const distance = await loadDistance(device, distances, signal)
      const run = scorer(process, varianceTypeOf(config), { seed, distance: distance.score, ...(step === undefined ? {} : { step }), ...(draws === undefined ? {} : { draws }) })
      const rows = ['name,score']
      const bar = progress(`Scoring (${distance.name})`, names.length, 'images')
      try {
        for (let begin = 0; begin < names.length; begin += batch) {
          const some = names.slice(begin, begin + batch)
          const samples = some.map((_, i) => begin + i)
          const pictures = await Promise.all(some.map((name) => readPng(join(folder, name), shape)))
          using images = device.tensor(pictures.flatMap((picture) => [...picture]), [some.length, config.inChannels, config.imageSize, config.imageSize])
          const y = labels.length > 0 ? { y: samples.map((k) => cycled(labels, k)) } : {}
          const scores = await run((x, timesteps) => model.forward(x, timesteps, y), images, samples)
          signal.throwIfAborted()
          some.forEach((name, i) => rows.push(`${quoted(name)},${scores[i]}`))
          bar.update(begin + some.length)
        }
      } finally {
        bar.stop()
        distance.dispose()
      }
      const out = args.text('out') ?? 'scores.csv'
      await writeFileAtomic(out, [new TextEncoder().encode(`${rows.join('\n')}\n`)], { signal })
      console.log(`${out}: ${names.length} scores (${distance.name})`)
    } finally {
      await file.checkpoint.close()
    }
  },
}

const quoted = (name: string): string => /[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name
