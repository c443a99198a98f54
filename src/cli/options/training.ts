/** The options that every `train` command has: the optimiser's, the run's and the data's. */
import { resolve } from 'node:path'
import type { TrainOptions } from '../../train/index.ts'
import { fail, type Arguments } from '../arguments.ts'
import { counted } from '../counted.ts'
import { dataOptions } from './data.ts'
import { deviceOptions } from './device.ts'

export const imageOptions = {
  ...dataOptions,
  crop: { value: 'center|random', help: 'how images of another size become square', default: 'center' },
  augment: { value: 'none|flip|symmetries', help: 'flip: left and right; symmetries: the eight of the square', default: 'none' },
} as const

export const trainOptions = {
  out: { value: 'DIR', help: 'folder of the run' },
  resume: { help: 'go on with the run in --out, to the same bits as without the interruption; also with a finished one, for more --images' },
  'data-changed': { help: 'with --resume: go on although the images are not those that the run began with' },
  from: { value: 'FILE', help: 'begin with the weights of this model, of the same network; the optimizer begins anew, averages as copies of them' },
  images: { value: 'N', help: 'length of the run, in images seen; with --resume it may be another than before' },
  batch: { value: 'N', help: 'images a step', default: '32' },
  microbatch: { value: 'N', help: 'images at a time, their gradients added up to the batch\'s', default: 'the batch' },
  lr: { value: 'X', help: 'learning rate', default: '1e-4' },
  warmup: { value: 'N', help: 'steps over which the learning rate rises', default: '0' },
  anneal: { value: '0..1', help: 'part of the run, at its end, over which the learning rate falls to 0; 1 is guided-diffusion\'s anneal_lr', default: '0' },
  'weight-decay': { value: 'X', help: 'of AdamW', default: '0' },
  clip: { value: 'X', help: 'largest norm of the gradient', default: 'none' },
  ema: { value: '0.999,0.9999', help: 'rates of the moving averages of the weights', default: '0.9999' },
  seed: { value: 'N', help: 'of the first weights and of everything drawn', default: '0' },
  'log-every': { value: 'N', help: 'steps between two rows of the log', default: '50' },
  'save-every': { value: 'N', help: 'steps between two checkpoints', default: '500' },
  ...deviceOptions,
} as const

export type ImageOption = keyof typeof imageOptions
export type TrainOption = keyof typeof trainOptions

export interface RunSettings {
  readonly out: string
  readonly resume: boolean
  readonly dataChanged: boolean
  readonly seed: number
  readonly saveEvery: number
  readonly train: TrainOptions
}

/** `lr`: the default of this kind of training. */
export function runSettings(args: Arguments<TrainOption>, defaults: { readonly lr?: number; readonly ema?: readonly number[] } = {}): RunSettings {
  const batch = args.integer('batch', { min: 1 }) ?? 32
  const images = args.integer('images', { min: 1 }) ?? fail('--images says how long to train, in images seen, as in --images 200000.')
  const clip = args.number('clip', { min: 0 })
  const ema = args.text('ema')?.split(',').map((text) => {
    const rate = Number(text)
    return rate >= 0 && rate < 1 && text.trim() !== '' ? rate : fail(`--ema: expected rates from 0 to below 1 with commas between, as in 0.999,0.9999, found "${text}".`)
  })
  const logEvery = args.integer('log-every', { min: 1 }) ?? 50
  const microbatch = args.integer('microbatch', { min: 1 })
  const steps = Math.ceil(images / batch)
  for (const rate of ema ?? defaults.ema ?? [0.9999]) {
    if (rate ** steps > 0.01) console.error(`note: after ${counted(steps, 'step')} ${(100 * rate ** steps).toFixed(0)} % of the average with rate ${rate} are still ${args.has('from') ? 'those that it begins with' : 'the first, random weights'}: take a rate of at most ${largestRate(steps)}.`)
  }
  return {
    out: resolve(args.required('out', ': the folder of the run, as in --out runs/cells')),
    resume: args.flag('resume') ?? false,
    dataChanged: args.flag('data-changed') ?? false,
    seed: args.integer('seed') ?? 0,
    saveEvery: args.integer('save-every', { min: 1 }) ?? 500,
    train: {
      batch, steps, logEvery,
      ...(microbatch === undefined ? {} : { microbatch }),
      lr: args.number('lr', { min: 0 }) ?? defaults.lr ?? 1e-4,
      warmup: args.integer('warmup') ?? 0,
      anneal: args.number('anneal', { min: 0, max: 1 }) ?? 0,
      weightDecay: args.number('weight-decay', { min: 0 }) ?? 0,
      emaRates: ema ?? defaults.ema ?? [0.9999],
      ...(clip === undefined ? {} : { clip }),
    },
  }
}

/** The largest rate of which a hundredth is left after so many steps, rounded down to two digits of what it lacks of 1. */
export function largestRate(steps: number): number {
  const gap = 1 - 0.01 ** (1 / steps)
  const digit = 10 ** (Math.floor(Math.log10(gap)) - 1)
  return Number((1 - Math.ceil(gap / digit) * digit).toPrecision(12))
}
