/** `tweedie nll`: what images cost under a model, in bits per dimension, and where along the process. */
import { join, resolve } from 'node:path'
import { evenlySpaced, encodeNpz, imageBatch } from '../../data/index.ts'
import { calcBpd, GaussianDiffusion, GeneratedNoise } from '../../diffusion/index.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { memoryOf, type UNet } from '../../nn/index.ts'
import { mostPairs } from '../../nn/remembered.ts'
import { stepNeed, together } from '../../tweedie/need.ts'
import { respacingOf } from '../../tweedie/settings.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { counted } from '../counted.ts'
import { loadWithProgress, openModel, sha256OfFile } from '../files.ts'
import { integer, integers, output, text } from '../option.ts'
import { dataOptions, fitImages, openData } from '../options/data.ts'
import { computedOn, deviceOptions, onDevice } from '../options/device.ts'
import { toldOf } from '../options/flags.ts'
import { noteIdle } from '../options/guidance.ts'
import { modelOptions, processSettings } from '../options/sample.ts'
import { claimOutputs, inputsOf } from '../outputs.ts'
import { progress } from '../progress.ts'
import { classesFor } from '../scoring/classes-told.ts'
import { BitsRun, type BitsHead } from '../scoring/bits-run.ts'
import { lookAt } from '../training/train-images.ts'
import { print, tell } from '../print.ts'

const options = {
  ...modelOptions,
  ...dataOptions,
  respacing: text({ value: 'N', help: 'steps of the bound: as many as these of the process', otherwise: 'all T' }),
  labels: integers({
    value: '3,8',
    help: 'what a class-conditional model is told, in the order of images; fewer than images start over',
    otherwise: "the data's classes",
  }),
  number: integer({ value: 'N', min: 1, help: 'images, from end to end of the set', default: '1000' }),
  batch: integer({ value: 'N', min: 1, max: 4096, help: 'images at a time', default: '8' }),
  seed: integer({ value: 'N', help: 'of the noise, one draw a step and image', default: '0' }),
  out: output({ value: 'DIR', help: 'folder for the results', default: 'out/nll' }),
  ...deviceOptions,
}

export const nll: Command<typeof options> = {
  name: 'nll',
  usage: '--model M.safetensors --data DATA [options]',
  summary: 'bits per dimension of images under a model: the variational bound, step by step (image_nll)',
  options,
  positionals: [0, 0],
  notes: [
    'The bound is that of DDPM Eq. 5, with the likelihood of 8-bit pixels at the last step, as guided-diffusion ' +
      "calc_bpd_loop computes it. Compare a model with others' figures only with all steps of its training: a " +
      'respaced process has a bound of its own.',
    'The folder gets nll.json (the mean with its standard error, each image, and the terms by step, step 0 first), ' +
      'vb_terms.npz, mse_terms.npz and xstart_mse_terms.npz, as image_nll.py writes them: arr_0 [T], the last ' +
      'step first. A stopped run goes on with the same command.',
  ],
  examples: ['nll --model bccd32 --data cells.npz --number 100 --respacing 100', 'nll --model M.pt --data faces/'],
  async run(argv, session) {
    const args = parseArguments(nll, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const path = args.required('model')
    const file = await openModel(path, toldOf(args), signal)
    try {
      const { config } = file.description
      if (config.kind !== 'unet' || config.superResolution)
        return fail(`${file.name}: bits per dimension need a U-Net that draws images by itself.`)
      const { process, clipDenoised } = processSettings(args, file.description)
      noteIdle(args, 'a network without variance head', process.varianceType !== 'learnedRange', ['sigma-small'])
      const respacing = respacingOf(args.get('respacing') ?? '', undefined, process.diffusionSteps)
      const diffusion = new GaussianDiffusion({ ...process, respacing })
      const [seed, out] = [args.get('seed'), resolve(args.get('out'))]
      await using _ = await claimOutputs({
        command: 'nll',
        inputs: inputsOf(args),
        folders: [
          { option: '--out', path: out, names: /^(nll\.json|(vb|mse|xstart_mse)_terms\.npz)$/, record: 'nll.json' },
        ],
      })
      const set = await openData(args, signal, { whole: true })
      const { imageSize: size } = config
      const channels = config.inChannels as 1 | 3
      fitImages(set, { size, crop: 'center' })
      const told = classesFor(args, config, set)
      const indices = evenlySpaced(set.length, args.get('number'))
      const batch = Math.min(args.get('batch'), indices.length)
      const head: BitsHead = {
        program: 'tweedie',
        kind: 'bits-per-dimension',
        data: set.name,
        fingerprint: set.fingerprint,
        model: await sha256OfFile(path, signal),
        process: { ...process, respacing: String(respacing) },
        clipDenoised,
        seed,
        steps: diffusion.steps,
        images: indices.length,
        ...(told && { classes: indices.map((k) => told[k]) }),
        ...(set.leftOut && { leftOut: set.leftOut }),
      }
      const run = await BitsRun.open(join(out, 'nll.json'), head)
      if (run.done < indices.length) {
        if (run.done > 0) tell(`${out}: ${run.done} of ${indices.length} images are there already.`)
        await lookAt([set], signal)
        const steps = mostPairs(config.numClasses, diffusion.steps, batch)
        const need = together([memoryOf(config, { batch, steps }), stepNeed(0, batch, [channels, size, size])])
        using device = await requestDevice({ need, signal })
        tell(`Computing on ${computedOn(device)}`)
        using model = (await loadWithProgress(device, file, signal)) as UNet
        await using _ = run
        for (let begin = run.done; begin < indices.length; begin += batch) {
          const some = indices.slice(begin, begin + batch)
          const { images } = await imageBatch(set, some, { size, channels }, signal)
          using x = device.tensor(images, [some.length, channels, size, size])
          using noise = new GeneratedNoise(device, { seed, samples: some, shape: [channels, size, size] })
          const range = `images ${begin + 1} to ${begin + some.length} of ${indices.length}`
          const bar = progress(`Bits per dimension, ${range}`, diffusion.steps, 'steps')
          try {
            const bits = await calcBpd(diffusion, model, x, {
              noise,
              ...(told && { y: some.map((k) => told[k]) }),
              clipDenoised,
              onProgress: (done) => bar.update(done),
              signal,
            })
            await run.add(bits)
          } finally {
            bar.stop()
          }
        }
      }
      const { mean, standardError, terms } = await run.finish()
      // image_nll.py stacks the terms as it walks, from the last step to the first.
      for (const [name, values] of Object.entries(terms))
        await writeFileAtomic(
          join(out, `${name}_terms.npz`),
          [encodeNpz({ arr_0: { shape: [values.length], data: Float32Array.from(values).reverse() } })],
          { signal },
        )
      const error = standardError === null ? '' : ` ± ${standardError.toPrecision(2)}`
      print(
        `${mean.toPrecision(5)}${error} bits per dimension, ${counted(indices.length, 'image')}, ` +
          `${counted(diffusion.steps, 'step')}: ${join(out, 'nll.json')}`,
      )
    } finally {
      await file.checkpoint.close()
    }
  },
}
