/** The options that every `train` command has: the optimiser's, the run's and the data's. */
import { resolve } from 'node:path'
import type { TrainOptions } from '../../train/index.ts'
import { fail, type Arguments } from '../arguments.ts'
import { counted } from '../counted.ts'
import { dataOptions } from './data.ts'
import { deviceOptions } from './device.ts'
import { choice, file, flag, integer, number, optionOf, output, type AnyDefault, type Kind } from '../option.ts'
import { tell } from '../print.ts'

export const imageOptions = {
  ...dataOptions,
  crop: choice(['center', 'random'], { help: 'how images of another size become square', default: 'center' }),
  augment: choice(['none', 'flip', 'symmetries'], {
    help: 'flip: left and right; symmetries: the eight of the square',
    default: 'none',
  }),
}

/** `0.999,0.9999`, or `none`. */
const rates: Kind<readonly number[]> = {
  read: (word, name) =>
    word === 'none'
      ? []
      : word.split(',').map((part) => {
          const rate = Number(part)
          return rate >= 0 && rate < 1 && part.trim() !== ''
            ? rate
            : fail(
                `--${name}: expected rates from 0 to below 1 with commas between, as in 0.999,0.9999, or none, ` +
                  `found "${part}".`,
              )
        }),
  write: (value) => value.join(',') || 'none',
}

export const trainOptions = {
  out: output({ value: 'DIR', help: 'folder of the run' }),
  resume: flag({
    help:
      'go on with the run in --out, to the same bits as without the interruption; also with a ' +
      'finished one, for more --images',
  }),
  'data-changed': flag({ help: 'with --resume: go on although the images are not those that the run began with' }),
  from: file({
    value: 'FILE',
    help:
      'begin with the weights of this model, of the same network; the optimizer begins anew, ' +
      'averages as copies of them',
  }),
  images: integer({
    value: 'N',
    min: 1,
    help: 'length of the run, in images seen; with --resume it may be another than before',
  }),
  batch: integer({ value: 'N', min: 1, help: 'images a step', default: '32' }),
  microbatch: integer({
    value: 'N',
    min: 1,
    help: "images at a time, their gradients added up to the batch's",
    otherwise: 'the batch',
  }),
  lr: number({ value: 'X', min: 0, help: 'learning rate', default: '1e-4' }),
  warmup: integer({ value: 'N', help: 'steps over which the learning rate rises', default: '0' }),
  anneal: number({
    value: '0..1',
    min: 0,
    max: 1,
    help: "part of the run, at its end, over which the learning rate falls to 0; 1 is guided-diffusion's anneal_lr",
    default: '0',
  }),
  'weight-decay': number({ value: 'X', min: 0, help: 'of AdamW', default: '0' }),
  clip: number({ value: 'X', min: 0, help: 'largest norm of the gradient', otherwise: 'any norm' }),
  ema: optionOf(rates, {
    value: '0.999,0.9999|none',
    help: 'rates of the moving averages of the weights',
    default: '0.9999',
  }),
  seed: integer({ value: 'N', help: 'of the first weights and of everything drawn', default: '0' }),
  'log-every': integer({ value: 'N', min: 1, help: 'steps between two rows of the log', default: '50' }),
  'save-every': integer({ value: 'N', min: 1, help: 'steps between two checkpoints', default: '500' }),
  ...deviceOptions,
}

export interface RunSettings {
  readonly out: string
  readonly resume: boolean
  readonly dataChanged: boolean
  readonly seed: number
  readonly saveEvery: number
  readonly train: TrainOptions
}

/**
 * What the options of a training say; without --ema and a default of it there are no averages. `otherwise`: defaults
 * that go before the options' own.
 */
export function runSettings(
  args: Arguments<Omit<typeof trainOptions, 'ema'> & AnyDefault<Pick<typeof trainOptions, 'ema'>>>,
  otherwise: Partial<Pick<TrainOptions, 'lr' | 'emaRates'>> = {},
): RunSettings {
  const batch = args.get('batch')
  const images = args.get('images') ?? fail('--images says how long to train, in images seen, as in --images 200000.')
  const clip = args.get('clip')
  const emaRates = (args.has('ema') ? undefined : otherwise.emaRates) ?? args.get('ema') ?? []
  const [logEvery, microbatch] = [args.get('log-every'), args.get('microbatch')]
  const steps = Math.ceil(images / batch)
  for (const rate of emaRates) {
    if (rate ** steps > 0.01)
      tell(
        `note: after ${counted(steps, 'step')} ${(100 * rate ** steps).toFixed(0)} % of the average with rate ` +
          `${rate} are still ${args.has('from') ? 'those that it begins with' : 'the first, random weights'}: take ` +
          `a rate of at most ${largestRate(steps)}.`,
      )
  }
  return {
    out: resolve(args.required('out', ': the folder of the run, as in --out runs/cells')),
    resume: args.get('resume') ?? false,
    dataChanged: args.get('data-changed') ?? false,
    seed: args.get('seed'),
    saveEvery: args.get('save-every'),
    train: {
      batch,
      steps,
      logEvery,
      ...(microbatch === undefined ? {} : { microbatch }),
      lr: (args.has('lr') ? undefined : otherwise.lr) ?? args.get('lr'),
      warmup: args.get('warmup'),
      anneal: args.get('anneal'),
      weightDecay: args.get('weight-decay'),
      emaRates,
      ...(clip === undefined ? {} : { clip }),
    },
  }
}

/**
 * The largest rate of which a hundredth is left after so many steps, rounded down to two digits of what it lacks of 1.
 */
export function largestRate(steps: number): number {
  const gap = 1 - 0.01 ** (1 / steps)
  const digit = 10 ** (Math.floor(Math.log10(gap)) - 1)
  return Number((1 - Math.ceil(gap / digit) * digit).toPrecision(12))
}
