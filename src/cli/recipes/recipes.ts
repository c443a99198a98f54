/**
 * Recipes as data: from a set of images to minority samples, as a table of commands with their options. Beside each
 * value stands where it is from. What no publication says is marked `ours`, with a word on why it is what it is; `asks`
 * names options of `tweedie recipe` that a recipe cannot do without, or that replace such a value.
 *
 * Words in braces are filled in by the runner: {data}, {out}, {model}, {lpips}, {weights} (the cache of `fetch`), and
 * {number}, {seed}, {target}, {labels}, {images} from the command line. An option whose word has no value is left out.
 *
 * The minority classifiers' columns of the papers' table stand in the presets mc_* of the nn room.
 */
import { preset as presetOf } from '../../nn/index.ts'
import { shipped } from '../shipped.ts'

export interface Setting {
  readonly value: string
  readonly source: string
  /** Whether a publication says so. */
  readonly published: boolean
}

export type StageCommand =
  | 'fetch'
  | 'shrink'
  | 'select'
  | 'train diffusion'
  | 'score'
  | 'label'
  | 'train classifier'
  | 'sample'
  | 'quickstart'
  | 'memorization'

export interface Stage {
  readonly command: StageCommand
  /** Arguments that are no options. */
  readonly positionals?: readonly string[]
  /** An empty value is a switch. */
  readonly options: Readonly<Record<string, Setting>>
  /** The file that is there when the stage is done. */
  readonly output: string
  /** Left out where --model names the model, or --lpips the weights. */
  readonly unless?: 'model' | 'lpips'
  /** How long, for people, where it is known. */
  readonly takes?: string
}

export interface Recipe {
  readonly name: string
  readonly about: string
  /** What --data has to hold; null: it is not needed. */
  readonly data: string | null
  /** Default of {model}: what the recipe trains or fetches. */
  readonly model: string
  /** Default of {lpips}; without it the commands take their own default. */
  readonly lpips?: string
  /** Preset of a model given with --model that does not say what it is. */
  readonly preset?: string
  /** Defaults of the recipe's own options; null: there is none, and the user must say. */
  readonly asks: Readonly<Partial<Record<'target' | 'labels' | 'images', Setting | null>>>
  /** What is said ahead of the stages. */
  readonly plan?: readonly string[]
  readonly stages: readonly Stage[]
  /** What the publications leave open, beyond the single values. */
  readonly notes: readonly string[]
}

export const published = (value: string | number, source: string): Setting => ({
  value: String(value),
  source,
  published: true,
})
export const ours = (value: string | number, why: string): Setting => ({
  value: String(value),
  source: why,
  published: false,
})
/** Not a figure: which file or folder goes where. */
export const wire = (value: string): Setting => ({ value, source: '', published: true })
/** An option of `tweedie recipe`. */
export const asked = (name: string): Setting => ({ value: `{${name}}`, source: `--${name}`, published: false })

export const TABLE = 'Um et al. (ICLR 2024), Table 2'
const APPENDIX = 'Um et al. (ICLR 2024), Appendix C: as ADM for LSUN bedrooms'
const SELF_README = 'sg-minority, README.md'
const SELF_SCRIPT = 'sg-minority, image_sample.py'
export const QIN = 'Qin et al. (CVPR 2023), CBDM-pytorch: DDPM on CIFAR-10-LT'
const CODE = 'minority-guidance, classifier_train.py'
const README = 'minority-guidance, README.md'
const SCRIPT = 'minority-guidance, construct_ms_dataset.py'

const fetchStage = (name: string, unless?: Stage['unless']): Stage => ({
  command: 'fetch',
  positionals: [name],
  options: {},
  output: `{weights}/${name}.safetensors`,
  ...(unless && { unless }),
})

const selectStage = (options: Readonly<Record<string, Setting>>): Stage => ({
  command: 'select',
  positionals: ['{data}'],
  options: { ...options, seed: asked('seed'), out: wire('{out}/split.json') },
  output: '{out}/split.json',
})

const oneDraw = published(1, 'Um et al.: one is enough (the default of construct_ms_dataset.py is 5)')

/** Minority scores (Eq. 7), and L classes of equal size of them. */
const scoreAndLabel = ({
  step,
  lpips,
  features,
  draws = oneDraw,
  levels,
  within,
  select,
}: {
  step: Setting
  lpips: Setting
  features?: Setting
  draws?: Setting
  levels: Setting
  within?: Setting
  select?: boolean
}): Stage[] => [
  {
    command: 'score',
    output: '{out}/scores.json',
    options: {
      model: wire('{model}'),
      data: wire('{data}'),
      ...(select && { select: wire('{out}/split.json') }),
      step,
      lpips,
      ...(features && { features }),
      draws,
      seed: asked('seed'),
      out: wire('{out}/scores.json'),
      html: wire('{out}/scores.html'),
    },
  },
  {
    command: 'label',
    output: '{out}/labels.json',
    options: {
      scores: wire('{out}/scores.json'),
      data: wire('{data}'),
      levels,
      ...(within && { within }),
      out: wire('{out}/labels.json'),
    },
  },
]

/** The column of the papers' table that a preset mc_* stands for. */
const columnOf = (preset: string) => presetOf(preset).sampling.minority!

/**
 * The minority classifier as published: by preset, AdamW with a learning rate that falls to 0, random crops and flips.
 */
const publishedClassifier = (preset: string): Stage => {
  const {
    featureExtractor: extractor,
    training: { iterations, batch, lr, weightDecay },
  } = columnOf(preset)
  return {
    command: 'train classifier',
    output: '{out}/classifier/model.safetensors',
    options: {
      data: wire('{data}'),
      labels: wire('{out}/labels.json'),
      model: wire('{model}'),
      preset: published(preset, `${TABLE}: the network`),
      ...(extractor && {
        extractor: published(`{weights}/${extractor}.safetensors`, `${TABLE}: the frozen feature extractor`),
      }),
      images: published(
        iterations * batch,
        `${TABLE}: ${iterations.toLocaleString('en')} iterations of batch ${batch}`,
      ),
      batch: published(batch, TABLE),
      lr: published(lr.toExponential(), TABLE),
      'weight-decay': published(weightDecay, TABLE),
      anneal: published(1, preset === 'mc_lsun' ? README : `${README} has it for LSUN; the others are not stated`),
      crop: published('random', CODE),
      augment: published('flip', CODE),
      seed: asked('seed'),
      out: wire('{out}/classifier'),
      resume: wire(''),
    },
  }
}

/** The second stage of ImageNet-256: plain ancestral sampling. */
const large = {
  upsampler: wire('{weights}/64_256_upsampler.safetensors'),
  'upsampler-respacing': published(250, "guided-diffusion, README.md, and sg-minority's"),
}

const sampleStage = (
  scale: Setting,
  {
    extractor,
    labels,
    features,
    respacing = published(250, TABLE),
    more = {},
  }: { extractor?: string; labels?: boolean; features?: Setting; respacing?: Setting; more?: Stage['options'] } = {},
): Stage => ({
  command: 'sample',
  output: '{out}/samples/run.json',
  options: {
    model: wire('{model}'),
    method: wire('minority-guided'),
    'minority-classifier': wire('{out}/classifier/model.safetensors'),
    ...(extractor && { extractor: wire(`{weights}/${extractor}.safetensors`) }),
    'minority-scale': scale,
    'minority-target': asked('target'),
    respacing,
    ...(labels && { labels: asked('labels') }),
    ...more,
    lpips: wire('{lpips}'),
    ...(features && { features }),
    number: asked('number'),
    seed: asked('seed'),
    out: wire('{out}/samples'),
  },
})

/** Self-guided sampling (Um & Ye, ECCV 2024): no classifier, and no data. */
const selfGuidedStage = (
  weight: string,
  every: Setting,
  { labels, more = {} }: { labels?: boolean; more?: Stage['options'] } = {},
): Stage => ({
  command: 'sample',
  output: '{out}/samples/run.json',
  options: {
    model: wire('{model}'),
    method: wire('self-guided'),
    'guide-weight': published(weight, `${SELF_README}: mg_scale`),
    'guide-every': every,
    'guide-strength': published('0.8', `${SELF_SCRIPT}: the default of p_ratio`),
    respacing: published(250, SELF_README),
    lpips: published('{lpips}', 'sg-minority, gaussian_diffusion.py: LPIPS, net alex'),
    ...(labels && { labels: asked('labels') }),
    ...more,
    number: asked('number'),
    seed: asked('seed'),
    out: wire('{out}/samples'),
  },
})

const vgg = '{weights}/lpips_vgg.safetensors'
const alex = '{weights}/lpips_alex.safetensors'

/** LPIPS with VGG-16, as the labelling script has it. */
const lpipsVgg = published('{lpips}', `${SCRIPT}: LPIPS, net vgg`)
const anyLpips = ours('{lpips}', '--lpips FILE takes LPIPS; without it no third-party weights are used')
const cellFeatures = ours(shipped('features'), 'our net of blood cells; --lpips FILE takes LPIPS instead')
const cosineStep = ours(
  90,
  '0.9 T for cosine: from memory of the paper; as noisy as the published 60 of linear (abar 0.020 and 0.024)',
)
const linearStep = published(60, `${SCRIPT}: perturb_t, of 100 steps`)
const topTenth = (first: number, last: number): Setting =>
  ours(`${first}-${last}`, 'the top levels; which of them is not stated, here a tenth')
const asCifar = 'as Table 2 has for CIFAR-10; not stated for CIFAR-10-LT'
const reference = 'Which guidance scales were tried and how many images a level needs are not stated.'

/** The published backbone is fetched; --model takes another file. */
const fetched = (name: string, lpips = vgg): Pick<Recipe, 'model' | 'preset' | 'lpips'> => ({
  model: `{weights}/${name}.safetensors`,
  preset: name,
  lpips,
})

/** CelebA's model is published where no program gets it. */
const celeba = { model: '{out}/diffusion/ema-0.9999.safetensors', preset: 'celeba64_uncond' }
const celebaImages = ours(
  540_000 * 2048,
  '540,000 iterations of batch 2048, from memory of ADM-64\'s training; the paper says "as ImageNet"',
)
const celebaDiffusion: Stage = {
  command: 'train diffusion',
  output: '{out}/diffusion/ema-0.9999.safetensors',
  unless: 'model',
  options: {
    data: wire('{data}'),
    preset: published('celeba64_uncond', `${SELF_README}: the network`),
    images: asked('images'),
    batch: ours(2048, "from memory of ADM-64's training"),
    lr: ours('3e-4', "from memory of ADM-64's training"),
    ema: published('0.9999', 'guided-diffusion, TrainLoop'),
    crop: published('center', 'guided-diffusion, image_datasets.py'),
    augment: published('flip', 'guided-diffusion, image_datasets.py'),
    seed: asked('seed'),
    out: wire('{out}/diffusion'),
    resume: wire(''),
  },
}
const celebaNote =
  'The published model lies on Google Drive (sg-minority, README.md); --model takes it, and nothing is trained then.'
const classesNote = 'The authors draw the classes at random, which is --labels random here.'

/** Minority guidance on ImageNet; `large` adds the second stage. */
const imagenetStages = (sampling: Stage['options'] = {}): Stage[] => [
  ...scoreAndLabel({
    step: cosineStep,
    lpips: lpipsVgg,
    levels: published(25, TABLE),
    within: published('class', 'Um et al., Appendix B.3'),
  }),
  publishedClassifier('mc_imagenet'),
  sampleStage(published(columnOf('mc_imagenet').scale, TABLE), {
    extractor: '64x64_classifier',
    labels: true,
    more: sampling,
  }),
]
const imagenetData = 'ImageNet, a folder a class, the 1,000 folders in sorted order'
const imagenetNote =
  "The layer by which this classifier is told the class is not released; it is the U-Net's label embedding here."

/** Networks of our own recipes: small enough for a CPU. This is how weights/bccd32-adm was trained. */
const smallDiffusion = (ema: Setting, options: Readonly<Record<string, Setting>>): Stage => ({
  command: 'train diffusion',
  output: '{out}/diffusion/model.safetensors',
  unless: 'model',
  options: {
    data: wire('{data}'),
    select: wire('{out}/split.json'),
    'num-channels': ours(32, 'with 2,2,2: 64 channels at every level'),
    'channel-mult': ours('2,2,2', 'fewer than 64 channels lose the mean of a picture in group norms'),
    'num-res-blocks': ours(1, 'for a CPU'),
    'num-head-channels': ours(32, 'two heads'),
    images: asked('images'),
    batch: ours(32, 'what a CPU does in a second'),
    lr: ours('6e-4', 'for so small a network'),
    warmup: ours(200, 'steps; a high rate from the first step diverges'),
    anneal: ours('0.3', 'the last third; then the weights are better than their average'),
    ema,
    ...options,
    seed: asked('seed'),
    out: wire('{out}/diffusion'),
    resume: wire(''),
  },
})

/**
 * The same network goes on from there, with v in place of epsilon for its prediction. An error in epsilon is divided by
 * sqrt(abar), which is 5e-5 where the cosine schedule begins to draw: from noise alone it becomes a colour of
 * its own, and 44 % of the samples of DDIM were brown fields, which no smear has. v has x_0 itself there, and
 * epsilon at the other end.
 */
const withVelocity = ({ options, ...stage }: Stage): Stage => ({
  ...stage,
  output: '{out}/velocity/model.safetensors',
  options: {
    ...options,
    from: wire('{out}/diffusion/model.safetensors'),
    predict: ours(
      'v',
      'the first steps decide colours, and there an error in epsilon is an error of many times its size in x_0',
    ),
    images: ours(80_000, 'an hour at most on two CPU cores'),
    anneal: ours('0.5', 'half of so short a run'),
    out: wire('{out}/velocity'),
  },
})

const smallClassifier = (options: Readonly<Record<string, Setting>>): Stage => ({
  command: 'train classifier',
  output: '{out}/classifier/model.safetensors',
  options: {
    data: wire('{data}'),
    select: wire('{out}/split.json'),
    labels: wire('{out}/labels.json'),
    model: wire('{model}'),
    'classifier-width': ours(32, 'as published for CIFAR-10'),
    'classifier-channel-mult': ours('2,2,2', '64 channels at every level, as the diffusion model'),
    'classifier-depth': ours(1, 'for a CPU'),
    batch: ours(32, 'what a CPU does in a second'),
    lr: ours('3e-4', 'as published'),
    warmup: ours(100, 'steps'),
    'weight-decay': ours('0.05', 'as published'),
    anneal: ours(1, 'as published for LSUN'),
    ...options,
    seed: asked('seed'),
    out: wire('{out}/classifier'),
    resume: wire(''),
  },
})

const cellDiffusion = smallDiffusion(ours('0.999', 'for the evaluations on the way'), {
  'attention-resolutions': ours(8, 'the smallest level'),
  augment: ours('symmetries', 'cells have no up'),
})

export const recipes: readonly Recipe[] = [
  {
    name: 'celeba',
    about: 'CelebA, 64 x 64',
    data: 'the aligned faces of CelebA',
    ...celeba,
    lpips: vgg,
    asks: { target: topTenth(90, 99), images: celebaImages },
    stages: [
      fetchStage('lpips_vgg', 'lpips'),
      celebaDiffusion,
      ...scoreAndLabel({ step: cosineStep, lpips: lpipsVgg, levels: published(100, TABLE) }),
      publishedClassifier('mc_celeba'),
      sampleStage(published(columnOf('mc_celeba').scale, TABLE)),
    ],
    notes: [reference, celebaNote],
  },
  {
    name: 'cifar10',
    about: 'CIFAR-10, 32 x 32',
    data: 'the 50,000 training images of CIFAR-10',
    ...fetched('cifar10_uncond_50M_500K'),
    asks: { target: topTenth(90, 99) },
    stages: [
      fetchStage('lpips_vgg', 'lpips'),
      fetchStage('cifar10_uncond_50M_500K', 'model'),
      ...scoreAndLabel({ step: cosineStep, lpips: lpipsVgg, levels: published(100, TABLE) }),
      publishedClassifier('mc_cifar10'),
      sampleStage(published(columnOf('mc_cifar10').scale, TABLE)),
    ],
    notes: [
      reference,
      "The classifier is trained on the timesteps that the sampler shows it (t * 0.25 of 4000); gd's " +
        'classifier_train.py would show it t itself.',
    ],
  },
  {
    name: 'cifar10-lt',
    about: 'CIFAR-10 made long-tailed, 32 x 32',
    data: 'the 50,000 training images of CIFAR-10 with their classes, as a folder a class',
    model: '{out}/diffusion/ema-0.9999.safetensors',
    lpips: vgg,
    asks: {
      target: ours(24, 'the rarest of 25; not stated'),
      images: published(300_000 * 128, `${QIN}: 300,000 steps of batch 128`),
    },
    stages: [
      fetchStage('lpips_vgg', 'lpips'),
      selectStage({ 'long-tail': published(100, `${QIN}: 5,000 images of the first class, 50 of the last`) }),
      {
        command: 'train diffusion',
        output: '{out}/diffusion/ema-0.9999.safetensors',
        unless: 'model',
        options: {
          data: wire('{data}'),
          select: wire('{out}/split.json'),
          'num-channels': published(128, QIN),
          'channel-mult': published('1,2,2,2', QIN),
          'num-res-blocks': published(2, QIN),
          'attention-resolutions': published(16, QIN),
          'num-head-channels': published(256, `${QIN}: one head`),
          dropout: published('0.1', QIN),
          schedule: published('linear', QIN),
          'diffusion-steps': published(1000, QIN),
          'no-learn-sigma': published('', QIN),
          images: asked('images'),
          batch: published(128, QIN),
          lr: published('2e-4', QIN),
          warmup: published(5000, QIN),
          clip: published(1, QIN),
          ema: published('0.9999', QIN),
          augment: published('flip', QIN),
          seed: asked('seed'),
          out: wire('{out}/diffusion'),
          resume: wire(''),
        },
      },
      ...scoreAndLabel({
        step: linearStep,
        lpips: lpipsVgg,
        levels: published(25, 'Um et al. (ICLR 2024): CIFAR-10-LT'),
        select: true,
      }),
      {
        command: 'train classifier',
        output: '{out}/classifier/model.safetensors',
        options: {
          data: wire('{data}'),
          select: wire('{out}/split.json'),
          labels: wire('{out}/labels.json'),
          model: wire('{model}'),
          'classifier-width': ours(32, asCifar),
          'classifier-depth': ours(2, asCifar),
          'classifier-channel-mult': ours('1,2,2,4', asCifar),
          'classifier-attention-resolutions': ours('16,8', asCifar),
          'classifier-head-channels': ours(64, asCifar),
          images: ours(12_000 * 128, asCifar),
          batch: ours(128, asCifar),
          lr: ours('3e-4', asCifar),
          'weight-decay': ours('0.05', asCifar),
          anneal: ours(1, 'as published for LSUN'),
          crop: published('random', CODE),
          augment: published('flip', CODE),
          seed: asked('seed'),
          out: wire('{out}/classifier'),
          resume: wire(''),
        },
      },
      sampleStage(ours('8.0', asCifar)),
    ],
    notes: [
      reference,
      "Which DDPM Um et al. guide on this data is not stated; it is Qin et al.'s here, in ADM's " +
        'layout and without classes.',
    ],
  },
  {
    name: 'lsun',
    about: 'LSUN bedrooms, 256 x 256',
    data: 'bedrooms; the authors used the subset jhoward/lsun_bedroom of Kaggle',
    ...fetched('lsun_bedroom'),
    asks: { target: published(99, `${README}, ${TABLE}`) },
    stages: [
      fetchStage('lpips_vgg', 'lpips'),
      fetchStage('lsun_bedroom', 'model'),
      fetchStage('256x256_classifier'),
      ...scoreAndLabel({
        step: linearStep,
        lpips: lpipsVgg,
        draws: published(5, `${README}: n_iter`),
        levels: published(100, TABLE),
      }),
      publishedClassifier('mc_lsun'),
      sampleStage(published(columnOf('mc_lsun').scale, `${README}, ${TABLE}`), { extractor: '256x256_classifier' }),
    ],
    notes: [
      reference,
      'How large a part of LSUN was labelled is not stated by the authors (a third party says a ' +
        'tenth); here all of --data is.',
      "The authors' own classifier is published as well: tweedie fetch mc_lsun.",
    ],
  },
  {
    name: 'imagenet',
    about: 'ImageNet, 64 x 64, class-conditional',
    data: imagenetData,
    ...fetched('64x64_diffusion'),
    // No default: evenly spread or random classes would be another experiment than the reader's.
    asks: { target: published(24, TABLE), labels: null },
    stages: [
      fetchStage('lpips_vgg', 'lpips'),
      fetchStage('64x64_diffusion', 'model'),
      fetchStage('64x64_classifier'),
      ...imagenetStages(),
    ],
    notes: [reference, imagenetNote],
  },
  {
    name: 'imagenet-256',
    about: 'ImageNet in two stages, 64 x 64 led to minorities, then 256 x 256',
    data: imagenetData,
    ...fetched('64x64_diffusion'),
    asks: { target: published(24, TABLE), labels: null },
    stages: [
      fetchStage('lpips_vgg', 'lpips'),
      fetchStage('64x64_diffusion', 'model'),
      fetchStage('64x64_classifier'),
      fetchStage('64_256_upsampler'),
      ...imagenetStages(large),
    ],
    notes: [reference, imagenetNote],
  },
  {
    name: 'celeba-self-guided',
    about: 'CelebA, 64 x 64, self-guided',
    data: 'the aligned faces of CelebA, unless --model names a model of them',
    ...celeba,
    lpips: alex,
    asks: { images: celebaImages },
    stages: [
      fetchStage('lpips_alex', 'lpips'),
      celebaDiffusion,
      selfGuidedStage('0.4', published(5, `${SELF_SCRIPT}: the default of inter_rate`)),
    ],
    notes: [celebaNote],
  },
  {
    name: 'imagenet-self-guided',
    about: 'ImageNet, 64 x 64, class-conditional, self-guided',
    data: null,
    ...fetched('64x64_diffusion', alex),
    asks: { labels: null },
    stages: [
      fetchStage('lpips_alex', 'lpips'),
      fetchStage('64x64_diffusion', 'model'),
      selfGuidedStage('0.2', published(2, `${SELF_README}: inter_rate`), { labels: true }),
    ],
    notes: ['Published as the first stage of ImageNet-256; for 64 x 64 by itself no weight is stated.', classesNote],
  },
  {
    name: 'imagenet-256-self-guided',
    about: 'ImageNet in two stages, 64 x 64 self-guided, then 256 x 256',
    data: null,
    ...fetched('64x64_diffusion', alex),
    asks: { labels: null },
    stages: [
      fetchStage('lpips_alex', 'lpips'),
      fetchStage('64x64_diffusion', 'model'),
      fetchStage('64_256_upsampler'),
      selfGuidedStage('0.2', published(2, `${SELF_README}: inter_rate`), { labels: true, more: large }),
    ],
    notes: [classesNote],
  },
  {
    name: 'brain-mri',
    about: 'brain MRI slices, 256 x 256, grey',
    data: 'slices of at least 256 x 256',
    model: '{out}/diffusion/ema-0.9999.safetensors',
    lpips: vgg,
    asks: { target: topTenth(45, 49), images: ours(2_000_000, 'the training of this model is not stated') },
    stages: [
      fetchStage('lpips_vgg', 'lpips'),
      {
        command: 'train diffusion',
        output: '{out}/diffusion/ema-0.9999.safetensors',
        unless: 'model',
        options: {
          data: wire('{data}'),
          grayscale: published('', `${TABLE}: one channel`),
          'image-size': published(256, TABLE),
          schedule: published('linear', TABLE),
          'diffusion-steps': published(1000, TABLE),
          'num-channels': published(256, APPENDIX),
          'channel-mult': published('1,1,2,2,4,4', APPENDIX),
          'num-res-blocks': published(2, APPENDIX),
          dropout: published('0.1', APPENDIX),
          'attention-resolutions': published('32,16,8', `${APPENDIX} (guided-diffusion, README.md)`),
          'num-head-channels': published(64, `${APPENDIX} (guided-diffusion, README.md)`),
          images: asked('images'),
          batch: ours(256, "from memory of ADM's training for LSUN"),
          lr: ours('1e-4', "from memory of ADM's training for LSUN; guided-diffusion's default"),
          ema: published('0.9999', 'guided-diffusion, TrainLoop'),
          crop: published('center', 'guided-diffusion, image_datasets.py'),
          augment: published('flip', 'guided-diffusion, image_datasets.py'),
          seed: asked('seed'),
          out: wire('{out}/diffusion'),
          resume: wire(''),
        },
      },
      ...scoreAndLabel({ step: linearStep, lpips: lpipsVgg, levels: published(50, TABLE) }),
      publishedClassifier('mc_brain_mri'),
      sampleStage(published(columnOf('mc_brain_mri').scale, TABLE)),
    ],
    notes: [
      reference,
      'Neither the diffusion model nor the data are published. Synthetic slices are not for diagnosis.',
    ],
  },
  {
    name: 'blood-cells',
    about: 'blood cells of BCCD, 32 x 32, of which white cells and platelets are the minority',
    data: 'bccd_cells_32.npz, or another .npz with source_image',
    model: '{out}/velocity/model.safetensors',
    asks: {
      target: ours(9, 'the rarest of 10'),
      images: ours(200_000, 'where the loss on held-out smears is flat, about'),
    },
    stages: [
      selectStage({
        'hold-out': ours('0.2', 'one fifth of the smears'),
        by: ours('source_image', 'cells of one smear are alike'),
      }),
      cellDiffusion,
      withVelocity(cellDiffusion),
      ...scoreAndLabel({
        step: cosineStep,
        lpips: anyLpips,
        features: cellFeatures,
        select: true,
        draws: ours(8, 'one draw agrees with another to 0.77 only, eight with eight others to 0.96'),
        levels: ours(10, 'about 400 cells a level'),
      }),
      smallClassifier({ images: ours(40_000, 'ten times the cells'), augment: ours('symmetries', 'cells have no up') }),
      sampleStage(ours('2.0', 'not swept'), { features: cellFeatures, respacing: ours(250, 'as published') }),
    ],
    notes: ['Synthetic cells are not for diagnosis.'],
  },
  {
    name: 'fashion-mnist-lt',
    about: 'Fashion-MNIST made long-tailed, 28 x 28, grey',
    data: 'train-images-idx3-ubyte.gz with its labels file beside it',
    model: '{out}/diffusion/model.safetensors',
    asks: {
      target: ours(24, 'the rarest of 25'),
      images: ours(64_000, 'half an hour on two CPU cores; more is better'),
    },
    stages: [
      selectStage({
        'long-tail': ours(100, 'imbalance factor: 6,000 of the first class, 60 of the last'),
        'hold-out': ours('0.1', 'a tenth of what is left'),
      }),
      smallDiffusion(ours('0.997', 'for the evaluations on the way'), {
        'attention-resolutions': ours(7, 'the smallest level'),
        augment: ours('flip', 'clothes have an up'),
      }),
      ...scoreAndLabel({
        step: cosineStep,
        lpips: anyLpips,
        levels: ours(25, 'as the paper has for CIFAR-10-LT'),
        select: true,
      }),
      smallClassifier({
        'classifier-attention-resolutions': ours(7, 'the smallest level'),
        images: ours(40_000, 'about 4 times the pictures'),
        augment: ours('flip', 'clothes have an up'),
      }),
      sampleStage(ours('2.0', 'not swept'), { respacing: ours(250, 'as published') }),
    ],
    notes: [],
  },
]
