/**
 * Recipes: every figure of the papers' table is in them, every plan is understood by the commands it names, what nobody
 * published says so, and a small one runs from data to samples, goes on where it was stopped, and refuses
 * what is not its own.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { encode } from 'fast-png'
import { describe, expect, test, vi } from 'vitest'
import { parseArguments, type Command } from '../src/cli/arguments.ts'
import { departures } from '../src/cli/sampling/departures.ts'
import { sampleSettings } from '../src/cli/options/sample.ts'
import { sample } from '../src/cli/commands/sample.ts'
import { networkOf, type DataShape } from '../src/cli/options/network.ts'
import { trainDiffusion } from '../src/cli/commands/train-diffusion.ts'
import { catalogue } from '../src/tweedie/catalogue.ts'
import { weightsFolder } from '../src/cli/commands/fetch.ts'
import { planOf, recipe as recipeCommand, run, stageCommands, type PlannedStage } from '../src/cli/commands/recipe.ts'
import { recipes, type Recipe, type Setting, type Stage } from '../src/cli/recipes/recipes.ts'
import { classCounts, selectImages } from '../src/data/index.ts'
import { preset, type ClassifierConfig } from '../src/nn/index.ts'
import { Device } from '../src/tensor/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { countingSet } from './data-fixtures.ts'
import { refuses } from './io-fixtures.ts'

const at = temporaryFolder()
const named = (name: string): Recipe => recipes.find((candidate) => candidate.name === name)!
const args = (...argv: string[]) => parseArguments(recipeCommand, argv)
const plan = (name: string, ...argv: string[]): PlannedStage[] =>
  planOf(
    named(name),
    args(...argv, ...(named(name).asks.labels === null && !argv.includes('--labels') ? ['--labels', '22'] : [])),
    '/data',
  ).stages
const stageOf = (name: string, command: string): PlannedStage =>
  plan(name).find(({ stage }) => stage.command === command)!
const figure = (name: string, command: string, option: string): string | undefined =>
  stageOf(name, command).figures.find((candidate) => candidate.option === option)?.value

describe("the papers' table", () => {
  // Um et al. (ICLR 2024), Table 2, column by column; null where the paper's figure is not known to us.
  const columns = {
    celeba: {
      extractor: null,
      input: [3, 64],
      levels: 100,
      steps: 1000,
      schedule: 'cosine',
      width: 64,
      depth: 2,
      mult: [1, 2, 3, 4],
      attention: [32, 16, 8],
      updown: true,
      conditional: false,
      decay: 0.05,
      batch: 256,
      iterations: 20_000,
      lr: 3e-4,
      target: null,
      scale: 4,
    },
    cifar10: {
      extractor: null,
      input: [3, 32],
      levels: 100,
      steps: 4000,
      schedule: 'cosine',
      width: 32,
      depth: 2,
      mult: [1, 2, 2, 4],
      attention: [16, 8],
      updown: true,
      conditional: false,
      decay: 0.05,
      batch: 128,
      iterations: 12_000,
      lr: 3e-4,
      target: null,
      scale: 8,
    },
    lsun: {
      extractor: '256x256_classifier',
      input: [512, 8],
      levels: 100,
      steps: 1000,
      schedule: 'linear',
      width: 128,
      depth: 2,
      mult: [1],
      attention: [8],
      updown: false,
      conditional: false,
      decay: 0.05,
      batch: 256,
      iterations: 60_000,
      lr: 3e-4,
      target: '99',
      scale: 3.5,
    },
    imagenet: {
      extractor: '64x64_classifier',
      input: [512, 8],
      levels: 25,
      steps: 1000,
      schedule: 'cosine',
      width: 128,
      depth: 4,
      mult: [1],
      attention: [8],
      updown: false,
      conditional: true,
      decay: 0.2,
      batch: 1024,
      iterations: 60_000,
      lr: 6e-4,
      target: '24',
      scale: 2.5,
    },
    'brain-mri': {
      extractor: null,
      input: [1, 256],
      levels: 50,
      steps: 1000,
      schedule: 'linear',
      width: 32,
      depth: 4,
      mult: [1, 1, 2, 2, 4, 4],
      attention: [32, 16, 8],
      updown: true,
      conditional: false,
      decay: 0.05,
      batch: 256,
      iterations: 5_000,
      lr: 3e-4,
      target: null,
      scale: 1.5,
    },
  } as const

  test.each(Object.entries(columns))('%s', (name, column) => {
    const training = (option: string): string | undefined => figure(name, 'train classifier', option)
    const { config, diffusion } = preset(training('preset')!)
    const {
      imageSize,
      inChannels,
      outChannels,
      modelChannels,
      numResBlocks,
      channelMult,
      attentionResolutions,
      resblockUpdown,
      numHeadChannels,
      pool,
      numClasses,
      useScaleShiftNorm,
    } = config as ClassifierConfig
    expect(training('extractor')).toBe(
      column.extractor === null ? undefined : `${weightsFolder()}/${column.extractor}.safetensors`,
    )
    expect([inChannels, imageSize]).toEqual(column.input)
    expect([outChannels, Number(figure(name, 'label', 'levels'))]).toEqual([column.levels, column.levels])
    expect([diffusion.diffusionSteps, diffusion.schedule]).toEqual([column.steps, column.schedule])
    expect([modelChannels, numResBlocks, channelMult]).toEqual([column.width, column.depth, column.mult])
    expect(attentionResolutions.map((rate) => imageSize / rate)).toEqual(column.attention)
    expect([resblockUpdown, numHeadChannels, pool, useScaleShiftNorm]).toEqual([column.updown, 64, 'attention', true])
    expect(numClasses).toBe(column.conditional ? 1000 : null)
    expect(figure(name, 'label', 'within')).toBe(column.conditional ? 'class' : undefined)
    expect(['weight-decay', 'batch', 'images', 'lr'].map((option) => Number(training(option)))).toEqual([
      column.decay,
      column.batch,
      column.iterations * column.batch,
      column.lr,
    ])
    expect([Number(figure(name, 'sample', 'minority-scale')), figure(name, 'sample', 'respacing')]).toEqual([
      column.scale,
      '250',
    ])
    const target = named(name).asks.target!
    if (column.target !== null) expect(target).toMatchObject({ value: column.target, published: true })
    else expect(target).toMatchObject({ published: false, source: expect.stringContaining('not stated') })
    // How they were scored (construct_ms_dataset.py) and trained (classifier_train.py).
    expect([figure(name, 'score', 'step'), figure(name, 'score', 'lpips')]).toEqual([
      column.schedule === 'linear' ? '60' : '90',
      `${weightsFolder()}/lpips_vgg.safetensors`,
    ])
    expect([training('anneal'), training('crop'), training('augment')]).toEqual(['1', 'random', 'flip'])
    // The presets' own figures, which `sample` takes as defaults, are the same.
    const { minority } = preset(training('preset')!).sampling
    expect([minority?.scale, minority?.target === undefined ? null : String(minority.target)]).toEqual([
      column.scale,
      column.target,
    ])
  })

  test('every figure has a source, and the plan says which are ours', async () => {
    const settings = (stage: Stage): [string, Setting][] => Object.entries(stage.options)
    for (const { name, stages, asks } of recipes) {
      for (const [option, { value, source, published }] of [
        ...stages.flatMap(settings),
        ...Object.entries(asks).flatMap(([key, setting]) => (setting ? [[key, setting] as const] : [])),
      ]) {
        // Wiring (a file, a switch, a method) needs none.
        const wiring = published && source === '' && (/^\{|^$/.test(value) || option === 'method')
        expect(wiring || source.length > 3, `${name} ${option}`).toBe(true)
        expect(
          /\[mem\]|from memory|not stated(?!;)|ours/i.test(source) && published && !/are not stated/.test(source),
          `${name} ${option}: ${source}`,
        ).toBe(false)
      }
    }
    const { code, out } = await tweedie(['recipe', 'celeba', '--dry-run'])
    expect(code).toBe(0)
    const text = out.join('\n')
    expect(text).toMatch(/--minority-target 90-99 +OURS: .*not stated/)
    expect(text).toMatch(/--lr 3e-4 +OURS: from memory/)
    expect(text).toMatch(/--minority-scale 4 +Um et al\. \(ICLR 2024\), Table 2/)
    expect(text).toContain('Google Drive')
  })
})

describe('plans', () => {
  const all = recipes.flatMap(
    ({ name }) =>
      [
        [name, []],
        [
          name,
          [
            '--model',
            'm.pt',
            '--lpips',
            'l.pth',
            '--number',
            '64',
            '--seed',
            '3',
            '--target',
            '5-7',
            '--backend',
            'cpu',
            '--threads',
            '2',
            '--microbatch',
            '8',
          ],
        ],
      ] as [string, string[]][],
  )

  test.each(all)('%s %j: every stage is understood by its command', (name, argv) => {
    for (const { stage, argv: typed, figures } of plan(name, ...argv)) {
      const command: Command = stageCommands[stage.command]
      const parsed = parseArguments(command, typed)
      expect(typed.join(' ')).not.toMatch(/[{}]/)
      // Numbers are numbers, and what is one of several words is one of them.
      for (const { option, value } of figures) {
        const shape = command.options[option].value
        if (shape === undefined) expect(value, option).toBe('')
        else if (/^[a-z-]+(\|[a-z-]+)+$/.test(shape)) expect(shape.split('|'), option).toContain(value)
        else if (['N', 'X', 'P', 'T'].includes(shape)) expect(Number(value), option).toBeGreaterThanOrEqual(0)
      }
      if (stage.command === 'fetch')
        expect(catalogue.map((entry) => entry.name)).toEqual(expect.arrayContaining([...parsed.positionals]))
    }
  })

  // What is printed is what a person would type, so it is read as a shell reads it.
  test.each(recipes.map(({ name }) => name))('%s --dry-run prints commands that can be typed', async (name) => {
    const { code, out, err } = await tweedie([
      'recipe',
      name,
      '--dry-run',
      ...(named(name).asks.labels === null ? ['--labels', '22'] : []),
      '--out',
      '/tmp/it is here',
    ])
    expect([code, err]).toEqual([0, []])
    const commands = out
      .filter((line) => /^\d+\. /.test(line))
      .map((line) =>
        [...line.replace(/^\d+\. tweedie /, '').matchAll(/'([^']*)'|(\S+)/g)].map(
          ([, quoted, plain]) => quoted ?? plain,
        ),
      )
    expect(commands).toHaveLength(plan(name).length)
    for (const [i, words] of commands.entries()) {
      const { stage } = plan(name)[i]
      const length = stage.command.split(' ').length
      expect(words.slice(0, length).join(' ')).toBe(stage.command)
      const parsed = parseArguments(stageCommands[stage.command], words.slice(length))
      for (const option of Object.keys(stage.options))
        expect(
          parsed.has(option) || stage.options[option].value === '{lpips}',
          `${name} ${stage.command} --${option}`,
        ).toBe(true)
    }
  })

  test('a network that is trained is built as its recipe says', async () => {
    const networkIn = (name: string, data: DataShape) =>
      networkOf(parseArguments(trainDiffusion, stageOf(name, 'train diffusion').argv), data)
    const lsun = preset('lsun_bedroom')
    const mri = await networkIn('brain-mri', { size: 256, channels: 1, classes: 4 })
    // The order of q, k and v is one of storage: a network trained from nothing has no other.
    expect(mri.config).toEqual({
      ...lsun.config,
      inChannels: 1,
      outChannels: 2,
      numHeads: 1,
      useNewAttentionOrder: true,
    })
    expect(mri.diffusion).toMatchObject({ schedule: 'linear', diffusionSteps: 1000 })
    // Qin et al.'s DDPM (CBDM, CVPR 2023): attention at 16 px with one head, no variance head; 32 / 16 = rate 2.
    const longTailed = await networkIn('cifar10-lt', { size: 32, channels: 3, classes: 10 })
    expect(longTailed.config).toMatchObject({
      imageSize: 32,
      modelChannels: 128,
      channelMult: [1, 2, 2, 2],
      numResBlocks: 2,
      attentionResolutions: [2],
      numHeadChannels: 256,
      outChannels: 3,
      dropout: 0.1,
      numClasses: null,
    })
    expect(longTailed.diffusion).toMatchObject({ schedule: 'linear', diffusionSteps: 1000, learnSigma: false })
    expect((await networkIn('celeba', { size: 64, channels: 3, classes: null })).config).toEqual(
      preset('celeba64_uncond').config,
    )
  })

  test("the long tail of CIFAR-10 is Qin et al.'s: 12,406 images, in 25 levels", () => {
    expect([figure('cifar10-lt', 'select', 'long-tail'), figure('cifar10-lt', 'label', 'levels')]).toEqual([
      '100',
      '25',
    ])
    const cifar = countingSet(50_000, { size: 1, labels: Array.from({ length: 50_000 }, (_, i) => i % 10) })
    expect(classCounts(cifar, selectImages(cifar, { longTail: 100 }).parts.train)).toEqual([
      5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50,
    ])
  })

  test.each<[string, string, string | null, string]>([
    ['celeba', 'celeba64_uncond', 'mc_celeba', 'LPIPS (vgg)'],
    ['cifar10', 'cifar10_uncond_50M_500K', 'mc_cifar10', 'LPIPS (vgg)'],
    ['lsun', 'lsun_bedroom', 'mc_lsun', 'LPIPS (vgg)'],
    ['imagenet', '64x64_diffusion', 'mc_imagenet', 'LPIPS (vgg)'],
    ['imagenet-256', '64x64_diffusion', 'mc_imagenet', 'LPIPS (vgg)'],
    ['celeba-self-guided', 'celeba64_uncond', null, 'LPIPS (alex)'],
    ['imagenet-self-guided', '64x64_diffusion', null, 'LPIPS (alex)'],
    ['imagenet-256-self-guided', '64x64_diffusion', null, 'LPIPS (alex)'],
  ])('%s draws as published: nothing is said to differ', (name, model, minority, distance) => {
    const files = {
      ...(minority && { minority: { ...preset(minority), preset: minority } }),
      upsampler: { ...preset('64_256_upsampler'), preset: '64_256_upsampler' },
    }
    const settings = sampleSettings(
      parseArguments(sample, stageOf(name, 'sample').argv),
      { ...preset(model), preset: model },
      undefined,
      files,
    )
    // The range of levels is ours where none is published.
    expect(departures(settings, distance)).toEqual([])
    expect(departures({ ...settings, respacing: '50' }, distance)).toHaveLength(1)
  })

  test('five draws for LSUN, as its command has them', () => {
    expect(stageOf('lsun', 'score').figures.find(({ option }) => option === 'draws')).toMatchObject({
      value: '5',
      setting: { published: true },
    })
  })

  test('self-guided: the published figures, LPIPS with AlexNet, and nothing to train for a fetched model', () => {
    const sampled = (name: string) =>
      Object.fromEntries(stageOf(name, 'sample').figures.map(({ option, value }) => [option, value]))
    expect(sampled('celeba-self-guided')).toMatchObject({
      method: 'self-guided',
      'guide-weight': '0.4',
      'guide-every': '5',
      'guide-strength': '0.8',
      respacing: '250',
      lpips: `${weightsFolder()}/lpips_alex.safetensors`,
    })
    for (const name of ['imagenet-self-guided', 'imagenet-256-self-guided']) {
      expect(sampled(name)).toMatchObject({
        'guide-weight': '0.2',
        'guide-every': '2',
        'guide-strength': '0.8',
        respacing: '250',
        labels: '22',
        lpips: `${weightsFolder()}/lpips_alex.safetensors`,
      })
      expect(plan(name).some(({ argv }) => argv.includes('/data'))).toBe(false)
      expect(named(name).data).toBe(null)
    }
    for (const name of ['imagenet-256', 'imagenet-256-self-guided'])
      expect(sampled(name)).toMatchObject({
        upsampler: `${weightsFolder()}/64_256_upsampler.safetensors`,
        'upsampler-respacing': '250',
      })
    // The table of the presets has the same figures.
    for (const [name, model] of [
      ['celeba-self-guided', 'celeba64_uncond'],
      ['imagenet-self-guided', '64x64_diffusion'],
    ] as const) {
      const { weight, every, strength } = preset(model).sampling.selfGuided!
      expect(['guide-weight', 'guide-every', 'guide-strength'].map((option) => Number(sampled(name)[option]))).toEqual([
        weight,
        every,
        strength,
      ])
    }
  })

  test('all commands of the table are there', () => {
    // The recipe for anyone's folder has the others: recipe-images.test.ts.
    const ofImages = ['shrink', 'quickstart', 'memorization']
    expect(new Set(recipes.flatMap(({ stages }) => stages.map(({ command }) => command)))).toEqual(
      new Set(Object.keys(stageCommands).filter((command) => !ofImages.includes(command))),
    )
  })

  test('a file that a stage reads is one that an earlier stage makes, or that is given', () => {
    for (const { name } of recipes) {
      const made = new Set<string>(['/data'])
      for (const { argv, output } of plan(name)) {
        for (const word of argv.filter(
          (candidate) =>
            candidate.startsWith(`${weightsFolder()}/`) ||
            /\/(split|scores|labels)\.json$|model\.safetensors$|ema-.*\.safetensors$/.test(candidate),
        )) {
          expect(made.has(word) || word === output, `${name}: ${word}`).toBe(true)
        }
        made.add(output)
      }
    }
  })

  test("a model of one's own: nothing is trained or fetched in its place, and the preset tells what it is", () => {
    const commands = (name: string, ...argv: string[]): string[] =>
      plan(name, ...argv).map(({ stage, argv: typed }) => (stage.command === 'fetch' ? typed.join() : stage.command))
    expect(commands('celeba')).toEqual(['lpips_vgg', 'train diffusion', 'score', 'label', 'train classifier', 'sample'])
    expect(commands('celeba', '--model', 'm.pt', '--lpips', 'l.pth')).toEqual([
      'score',
      'label',
      'train classifier',
      'sample',
    ])
    expect(commands('lsun', '--model', 'm.pt')).toEqual([
      'lpips_vgg',
      '256x256_classifier',
      'score',
      'label',
      'train classifier',
      'sample',
    ])
    expect(
      plan('celeba', '--model', 'm.pt')
        .find(({ stage }) => stage.command === 'score')!
        .argv.join(' '),
    ).toContain('--preset celeba64_uncond')
    expect(commands('blood-cells')).toEqual([
      'select',
      'train diffusion',
      'train diffusion',
      'score',
      'label',
      'train classifier',
      'sample',
    ])
  })
})

describe('mistakes', () => {
  test.each([
    [['recipe', 'celebb', '--data', 'x'], /no recipe "celebb", did you mean "celeba"/],
    [['recipe', 'celeba'], /--data is required: the aligned faces/],
    [['recipe', 'celeba', '--data', '/nowhere'], /there is no \/nowhere/],
    [['recipe', 'celeba-self-guided'], /--data is required: .*unless --model/],
    [['recipe', 'imagenet', '--dry-run'], /needs --labels.*No default is published/],
    [['recipe', 'celeba', '--dry-run', '--guidance', '3'], /no option --guidance/],
  ])('%j', async (argv, message) => {
    const { code, err } = await tweedie(argv)
    expect([code, err.length]).toEqual([1, 1])
    expect(err[0]).toMatch(message)
  })

  test('without a name: the list', async () => {
    const { code, out } = await tweedie(['recipe'])
    expect([code, out.length, out[1]]).toEqual([0, recipes.length + 2, expect.stringMatching(/^ +images /)])
  })
})

describe('a small recipe', () => {
  const set = (options: Record<string, string>): Record<string, Setting> =>
    Object.fromEntries(
      Object.entries(options).map(([option, value]) => [option, { value, source: 'this test', published: false }]),
    )
  const small: Recipe = {
    name: 'small',
    about: 'stripes',
    data: 'stripes',
    model: '{out}/diffusion/ema-0.5.safetensors',
    asks: { target: { value: '1', source: 'this test', published: false } },
    notes: [],
    stages: [
      {
        command: 'select',
        positionals: ['{data}'],
        output: '{out}/split.json',
        options: set({ 'hold-out': '0.25', seed: '{seed}', out: '{out}/split.json' }),
      },
      {
        command: 'train diffusion',
        unless: 'model',
        output: '{out}/diffusion/ema-0.5.safetensors',
        options: set({
          data: '{data}',
          select: '{out}/split.json',
          'num-channels': '32',
          'channel-mult': '1,1',
          'attention-resolutions': '4',
          'diffusion-steps': '100',
          images: '24',
          batch: '8',
          ema: '0.5',
          samples: '0',
          'evaluate-on': '0',
          out: '{out}/diffusion',
          resume: '',
        }),
      },
      {
        command: 'score',
        output: '{out}/scores.json',
        options: set({
          model: '{model}',
          data: '{data}',
          select: '{out}/split.json',
          step: '90',
          lpips: '{lpips}',
          seed: '{seed}',
          out: '{out}/scores.json',
        }),
      },
      {
        command: 'label',
        output: '{out}/labels.json',
        options: set({ scores: '{out}/scores.json', data: '{data}', levels: '2', out: '{out}/labels.json' }),
      },
      {
        command: 'train classifier',
        output: '{out}/classifier/model.safetensors',
        options: set({
          data: '{data}',
          select: '{out}/split.json',
          labels: '{out}/labels.json',
          model: '{model}',
          'classifier-width': '32',
          'classifier-depth': '1',
          'classifier-channel-mult': '1',
          'classifier-head-channels': '32',
          images: '16',
          batch: '8',
          'evaluate-on': '0',
          out: '{out}/classifier',
          resume: '',
        }),
      },
      {
        command: 'sample',
        output: '{out}/samples/run.json',
        options: set({
          model: '{model}',
          method: 'minority-guided',
          'minority-classifier': '{out}/classifier/model.safetensors',
          'minority-target': '{target}',
          respacing: '5',
          number: '{number}',
          seed: '{seed}',
          out: '{out}/samples',
        }),
      },
    ],
  }
  const data = at('stripes')
  mkdirSync(data)
  for (let k = 0; k < 16; k++) {
    const pixels = Uint8Array.from(
      { length: 8 * 8 * 3 },
      (_, i) => 127 + 120 * Math.sin(k * 3 + Math.floor(i / 3) * (1 + (k % 4))),
    )
    writeFileSync(
      `${data}/${String(k).padStart(2, '0')}.png`,
      encode({ width: 8, height: 8, channels: 3, depth: 8, data: pixels }),
    )
  }
  const session = (signal = new AbortController().signal) => ({
    signal,
    requestDevice: (request: Parameters<typeof Device.request>[0]) => Device.request(request),
  })
  const planned = (out: string, ...argv: string[]) =>
    planOf(
      small,
      args('--out', out, '--backend', 'cpu', ...(argv.includes('--threads') ? [] : ['--threads', '2']), ...argv),
      data,
    )
  const record = (out: string): { stages: { command: string; finished: string }[] } =>
    JSON.parse(readFileSync(`${out}/recipe.json`, 'utf8'))
  /** Runs, and says which stages ran and which were finished. */
  const go = async (out: string, ...argv: string[]): Promise<string[]> => {
    const before = new Map(
      statOrNull(`${out}/recipe.json`) ? record(out).stages.map((stage) => [stage.command, stage.finished]) : [],
    )
    await quiet(run(small, planned(out, ...argv), data, session()))
    return record(out)
      .stages.filter(({ command, finished }) => before.get(command) !== finished)
      .map(({ command }) => command)
  }
  const quiet = async <T>(running: Promise<T>): Promise<T> => {
    const spies = (['log', 'error'] as const).map((method) => vi.spyOn(console, method).mockImplementation(() => {}))
    return running.finally(() => spies.forEach((spy) => spy.mockRestore()))
  }
  const statOrNull = (path: string) => statSync(path, { throwIfNoEntry: false })

  test('runs from data to samples; then nothing is left to do, and a change runs what follows it', async () => {
    const out = at('small')
    const every = small.stages.map(({ command }) => command)
    expect(await go(out, '--number', '2')).toEqual(every)
    expect(JSON.parse(readFileSync(`${out}/labels.json`, 'utf8'))).toMatchObject({ kind: 'minority-labels', levels: 2 })
    expect(statOrNull(`${out}/samples/sample-0001.png`)?.isFile()).toBe(true)
    expect(await go(out, '--number', '2')).toEqual([])
    expect(await go(out, '--number', '2', '--threads', '1', '--microbatch', '4')).toEqual([])
    expect(await go(out, '--number', '3')).toEqual(['sample'])
    expect(statOrNull(`${out}/samples/sample-0002.png`)?.isFile()).toBe(true)
    rmSync(`${out}/scores.json`)
    expect(await go(out, '--number', '3')).toEqual(['score', 'label', 'train classifier', 'sample'])
    // A folder is one recipe's.
    await refuses(run({ name: 'other' }, planned(out), data, session()), 'option', /record of the recipe small/)
  })

  test('a longer training goes on; what was made with the shorter one is moved aside, not lost', async () => {
    const out = at('small')
    const longer: Recipe = {
      ...small,
      stages: small.stages.map((stage) =>
        stage.command === 'train diffusion'
          ? { ...stage, options: { ...stage.options, ...set({ images: '40' }) } }
          : stage,
      ),
    }
    const said: string[] = []
    const spies = (['log', 'error'] as const).map((method) =>
      vi.spyOn(console, method).mockImplementation((line: unknown) => void said.push(String(line))),
    )
    const argv = args('--out', out, '--backend', 'cpu', '--threads', '2', '--number', '3')
    await run(longer, planOf(longer, argv, data), data, session()).finally(() =>
      spies.forEach((spy) => spy.mockRestore()),
    )
    expect(said.join('\n')).toContain('going on after step 3 of 5')
    // Labels are replaced: their scores make them again in a moment.
    const aside = readdirSync(out)
      .filter((name) => name.startsWith('earlier-'))
      .sort()
      .map((name) => readdirSync(`${out}/${name}`))
    expect(aside).toEqual([['scores.json'], ['classifier'], ['samples']])
    expect(readdirSync(`${out}/earlier-2/classifier`)).toContain('state.safetensors')
    expect(record(out).stages.map(({ command }) => command)).toEqual(small.stages.map(({ command }) => command))
  })

  test('an abort stops it with what is finished written down', async () => {
    const out = at('stopped')
    const controller = new AbortController()
    const stopped = { ...session(controller.signal), requestDevice: () => Promise.reject(new Error('stop here')) }
    await expect(quiet(run(small, planned(out), data, stopped))).rejects.toThrow('stop here')
    expect(record(out).stages.map(({ command }) => command)).toEqual(['select'])
    controller.abort(new Error('enough'))
    await expect(quiet(run(small, planned(out), data, session(controller.signal)))).rejects.toThrow('enough')
    expect(await go(out, '--number', '1')).toEqual(['train diffusion', 'score', 'label', 'train classifier', 'sample'])
  })
})
