/** Every page that the command line writes, of made-up runs: long and short, with names that need escaping. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { evaluationsOf } from '../src/cli/pages/classifier-page.ts'
import { evaluationPage } from '../src/cli/pages/evaluation-page.ts'
import { memorizationPage } from '../src/cli/pages/memorization-page.ts'
import { writeReport, type ReportRun } from '../src/cli/pages/report.ts'
import { pageGroups, scorePage } from '../src/cli/pages/score-page.ts'
import { trainPage } from '../src/cli/pages/train-page.ts'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { encodePng, type Image, type ImageSet } from '../src/data/index.ts'
import type { Estimate, Evaluation, MeasureName, ShownSample } from '../src/metrics/evaluation.ts'
import type { AnyTrainer, Row } from '../src/train/index.ts'
import { numbers } from './op.ts'

const hash = '0123456789abcdef'.repeat(4)

/** A disc in a colour of its own. */
function disc(seed: number, side: number): Image {
  const [r, ...colours] = numbers(4, seed + 1)
  const inside = (i: number): boolean =>
    Math.hypot((i % side) - side / 2, Math.floor(i / side) - side / 2) < side * (0.3 + 0.05 * r)
  const data = Uint8Array.from({ length: 3 * side * side }, (_, i) =>
    inside(Math.floor(i / 3)) ? 127 + 60 * Math.tanh(colours[i % 3]) : 230,
  )
  return { width: side, height: side, channels: 3, data }
}

/** A set of them. */
export const discs = (name: string, length: number, side: number): ImageSet => ({
  name,
  length,
  channels: 3,
  columns: new Map(),
  notes: [],
  fingerprint: hash,
  imageName: (i) => `${name}-${String(i).padStart(5, '0')}.png`,
  sizeOf: () => ({ width: side, height: side }),
  read: async (i) => disc(i, side),
})

const groups = ['q0', 'q1', 'q2', 'q3']

/** A log of `count` rows, whose loss falls. */
function trainer(count: number, task: readonly string[] = groups): AnyTrainer {
  const noise = numbers(count * 5, 3)
  const figure = (i: number, scale: number): Row['values'][string] => {
    const at = (g: number): number =>
      scale * (0.02 + 0.3 * 2 ** -g * Math.exp(-i / 40)) * Math.exp(0.05 * noise[5 * i + g])
    return { all: at(0), byGroup: task.length > 1 ? [4, 3, 2, 1].map(at) : [at(0)] }
  }
  const rows = Array.from(
    { length: count },
    (_, i): Row => ({
      step: 100 * (i + 1),
      images: 12800 * (i + 1),
      steps: 100,
      counts: [1, 1, 1, 1],
      gradientNorm: 1,
      lr: 1e-4,
      values: { loss: figure(i, 1), mse: figure(i, 0.9), ...(count > 1 && { vb: figure(i, 1e-3) }) },
    }),
  )
  const history = count > 1 ? [{ step: 300, what: `data.npz is now ${hash}, of 1,200 images` }] : []
  return {
    rows,
    rowsSoFar: rows,
    step: 100 * count,
    history,
    task: { groups: task },
    options: { steps: 6000, batch: 128 },
  } as unknown as AnyTrainer
}

const run = {
  data: hash,
  crop: 'center',
  augment: 'symmetries',
  seed: 0,
  scheduleSampler: 'loss-second-moment',
  steps: 6000,
  batch: 128,
  microbatch: null,
  lr: 0.0001,
  weightDecay: 0.05,
  emaRates: [0.99, 0.9999],
  anneal: 0,
  config: JSON.stringify({
    image_size: 32,
    num_channels: 32,
    channel_mult: [1, 2, 2],
    attention_resolutions: [16, 8],
    use_scale_shift_norm: true,
    num_classes: null,
  }),
  diffusion: JSON.stringify({ noise_schedule: 'cosine', diffusion_steps: 1000, learn_sigma: true }),
}

const quarters = (value: number): number[] => [0.4, 0.8, 1.2, 1.6].map((part) => part * value)

/** Reviews of a classifier's checkpoints. */
const reviews = (count: number) =>
  Array.from({ length: count }, (_, i) => {
    const of = (loss: number) => ({
      images: 500,
      loss,
      acc1: Math.exp(-loss),
      lossByQuartile: quarters(loss),
      acc1ByQuartile: quarters(Math.exp(-loss) / 2),
    })
    return {
      step: 500 * (i + 1),
      images: 64_000 * (i + 1),
      average: 'ema-0.9999',
      train: of(1 / (i + 1)),
      heldBack: of(1.2 / (i + 1)),
    }
  })

const methodNames = ['ancestral', 'self-guided', 'minority-guided, scale 2']

/** Three methods in two spaces. */
export function exampleEvaluation(): Evaluation {
  const set = (name: string, images: number) => ({ name, path: `out/${name}`, images, fingerprint: hash })
  const spread = numbers(600, 9)
  let at = 0
  const estimate = (around: number): Estimate => {
    const value = around * (1 + 0.1 * spread[at++])
    return { value, low: value - 0.05 * around, high: value + 0.05 * around }
  }
  const measured = (measure: MeasureName, space: string | null, around: number, ofReal = false) => ({
    measure,
    space,
    values: [estimate(around), estimate(1.1 * around), estimate(1.2 * around)],
    real: ofReal ? estimate(around) : null,
  })
  const grid = Array.from({ length: 128 }, (_, i) => i / 40)
  const bell = (mean: number): number[] => grid.map((x) => Math.exp(-((x - mean) ** 2) / 0.18) / 0.75)
  const sample = (index: number): ShownSample => ({
    index,
    name: `sample-${String(index).padStart(5, '0')}.png`,
    avgknn: 1 + 0.01 * index,
    nearest: Array.from({ length: 4 }, (_, i) => ({
      index: 7 * index + i,
      name: `real-${7 * index + i}.png`,
      distance: 0.8 + 0.05 * i,
    })),
  })
  const spaceNames = ['inception', 'dino-vit-s16']
  return {
    program: 'tweedie',
    kind: 'evaluation',
    version: '0.1.0',
    real: set('real', 10_000),
    heldOut: null,
    reference: { images: 2000, by: 'avgknn', space: 'inception' },
    methods: methodNames.map((name) => set(name, 5000)),
    spaces: spaceNames.map((name) => ({
      name,
      dimension: 2048,
      preprocessing: 'bicubic to 299 x 299, [-1, 1]',
      weights: hash,
    })),
    settings: { k: 5, lofK: 20, resamples: 200, confidence: 0.95, seed: 0 },
    measurements: [
      ...spaceNames.flatMap((space) => [
        measured('frechet', space, 12),
        measured('kid', space, 0.004),
        measured('precision', space, 0.7),
        measured('recall', space, 0.5),
        measured('density', space, 0.9),
        measured('coverage', space, 0.8),
        measured('avgknn', space, 1.1, true),
        measured('lof', space, 1.05, true),
      ]),
      { measure: 'accuracy', space: null, values: [null, estimate(0.6), null], real: null },
      measured('brightness', null, 121, true),
    ],
    distributions: [
      ...spaceNames.map(
        (space) => ({ of: 'avgknn', space, grid, real: bell(1), methods: [bell(1.05), bell(1.3), bell(1.7)] }) as const,
      ),
      {
        of: 'brightness',
        space: null,
        grid: grid.map((x) => 80 * x),
        real: bell(1.5),
        methods: [bell(1.4), null, bell(1.2)],
      },
    ],
    precisionByRarity: spaceNames.map((space) => ({
      space,
      methods: [0.9, 0.8, 0.85].map((top) =>
        Array.from({ length: 10 }, (_, i) => ({ avgknn: 0.5 + 0.2 * i, precision: top - 0.06 * i })),
      ),
    })),
    shown: [0, 1, 2].map((method) => ({
      space: 'inception',
      method,
      mostDense: [0, 1, 2, 3].map(sample),
      leastDense: [10, 11, 12, 13].map(sample),
      nearest: [20, 21].map(sample),
    })),
    warnings: [
      'inception: 1,500 images give a covariance of rank 1,499 of 2,048, so the Fréchet distance depends on how many ' +
        'there are: see KID.',
    ],
  }
}

/** A report of the `names` of runs, of eight samples each, as quickstart writes it. */
async function report(names: readonly string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'tweedie-pages-'))
  try {
    const runs = names.map((name, r): ReportRun => {
      mkdirSync(join(folder, name))
      const samples = Array.from({ length: 8 }, (_, i) => ({
        file: `sample-000${i}.png`,
        sha256: hash,
        score: 0.4 + 0.1 * Math.sin(i + r),
      }))
      for (const [i, { file }] of samples.entries())
        writeFileSync(join(folder, name, file), encodePng(disc(i + 10 * r, 32)))
      const options = {
        model: '/home/somebody/models/bccd32-adm.safetensors',
        method: name,
        'diffusion-steps': 1000,
        respacing: '50',
        seed: 0,
        ...(r > 0 && { 'guide-weight': 0.4 }),
      }
      const adapter = {
        backend: 'webgpu',
        name: 'SwiftShader Device (LLVM 16.0.0)',
        vendor: 'google',
        architecture: 'swiftshader',
        software: true,
      } as const
      const record: RunRecord = {
        program: 'tweedie',
        version: '0.1.0',
        status: 'done',
        started: '2026-11-26T20:10:08.041Z',
        options,
        sha256: { model: hash },
        adapter,
        kernels: {},
        samples,
        seconds: { load: 0.1, batches: [{ samples: 8, seconds: 10, firstStep: 2, scoring: 1 }] },
        ...(r > 0 && { differs: ['self-guidance of this model: none is published'] }),
      }
      return { name, record, distance: 'features (7b368d9c)', folder: join(folder, name) }
    })
    const intro =
      'Each row of pictures was drawn from the same noise. The number under a picture is its minority score.'
    await writeReport(folder, runs, { title: names.join(', '), intro }, new AbortController().signal)
    return readFileSync(join(folder, 'report.html'), 'utf8')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function scores(): Promise<string> {
  const all = Array.from(numbers(60, 5), Math.exp)
  const picture = disc(1, 64)
  return scorePage({
    name: 'blood <cells>',
    model: 'bccd32-adm.safetensors',
    scores: all,
    groups: pageGroups(all),
    version: '0.1.0',
    brightness: { count: 30, rare: 121, common: 69 },
    images: new Map(all.map((_, i) => [i, { name: `white/cell-${i}.png`, image: picture, reconstruction: picture }])),
    classes: { labels: all.map((_, i) => i % 3), names: ['eosinophil', 'lymphocyte', 'neutrophil'] },
    settings: {
      model: hash,
      schedule: 'cosine',
      diffusionSteps: 1000,
      respacing: '100',
      t: 90,
      timestep: 908,
      distance: 'LPIPS (vgg)',
      draws: 3,
      seed: 0,
      conditional: false,
    },
  })
}

function memorization(): string {
  const levels = [0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3]
  const pairs = Array.from({ length: 6 }, (_, i) => ({
    distance: 0.05,
    sampleName: `sample-${i}.png`,
    trainingName: `white/cell-${i}.png`,
    sample: disc(i, 32),
    training: disc(i, 32),
  }))
  return memorizationPage(
    {
      program: 'tweedie',
      kind: 'memorization',
      version: '0.1.0',
      samples: { path: 'out/cells', number: 100 },
      features: null,
      data: { name: 'cells', fingerprint: hash, train: 900, heldOut: 100, select: 'split.json' },
      measures: [{ name: 'pixels', samples: levels, heldOut: levels, nearer: 0.01 }],
    },
    [{ name: 'pixels', pairs }],
  )
}

/** HTML by name. */
export async function examplePages(): Promise<Record<string, string>> {
  const guess = { loss: 1.6, acc1: 0.2 }
  const evaluation = exampleEvaluation()
  return {
    'train-long': await trainPage({ title: 'Training a diffusion model', trainer: trainer(60), run }),
    'train-one-row': await trainPage({ title: 'Training a diffusion model', trainer: trainer(1), run }),
    'train-features': await trainPage({ title: 'Training a feature net', trainer: trainer(5, ['all']), run }),
    'train-classifier': await trainPage({
      title: 'Training a minority classifier',
      trainer: trainer(60),
      run,
      ...evaluationsOf(reviews(8), guess),
    }),
    'train-classifier-short': await trainPage({
      title: 'Training a minority classifier',
      trainer: trainer(2),
      run,
      ...evaluationsOf(reviews(1), guess),
    }),
    quickstart: await report(['plain', 'self-guided', 'minority-guided']),
    sample: await report(['plain']),
    scores: await scores(),
    memorization: memorization(),
    evaluation: await evaluationPage(evaluation, {
      methods: evaluation.methods.map(({ name, images }) => discs(name, images!, 96)),
      real: discs('real', 10_000, 96),
    }),
    'evaluation-of-statistics': await evaluationPage(
      {
        ...evaluation,
        real: { ...evaluation.real, images: null },
        reference: { images: null, by: null, space: null },
        methods: evaluation.methods.slice(0, 1).map((set) => ({ ...set, images: null })),
        shown: [],
        measurements: evaluation.measurements.map((row) => ({ ...row, values: row.values.slice(0, 1), real: null })),
        distributions: evaluation.distributions.map((one) => ({
          ...one,
          real: null,
          methods: one.methods.slice(0, 1),
        })),
        precisionByRarity: evaluation.precisionByRarity.map((one) => ({ ...one, methods: one.methods.slice(0, 1) })),
      },
      { methods: [null], real: null },
    ),
  }
}
