/**
 * `tweedie recipe`: one command from data to samples. It fills in a recipe's table, prints the plan with the source of
 * every figure, and runs the commands one after the other with the arguments a person would type. What is finished is
 * written down in recipe.json; the same command goes on from there, and each command goes on within itself: a training
 * whose length changed, too. What a stage cannot go on with, since something before it changed, is moved aside.
 */
import { mkdir, readFile, rename, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { TweedieError } from '../../errors.ts'
import { exists, writeText } from '../../io/file.node.ts'
import { aNumber, aText, fieldsOf, jsonText, listOf, oneOf, optional, parseJson, valuesOf } from '../../io/json.ts'
import { Arguments, fail, parseArguments, type Command } from '../arguments.ts'
import { classOptions, openClasses } from '../options/data.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { fetchCommand, weightsFolder } from './fetch.ts'
import { imagesAbout, imagesRecipe, type Measured } from './recipe-images.ts'
import { label } from './label.ts'
import { memorization } from './memorization.ts'
import { choice, didYouMean, file, flag, images, integer, number, output, text } from '../option.ts'
import { claimOutputs, isClaimed } from '../outputs.ts'
import { quickstart } from './quickstart.ts'
import { recipes, wire, type Recipe, type Setting, type Stage, type StageCommand } from '../recipes/recipes.ts'
import { sample } from './sample.ts'
import { score } from './score.ts'
import { select } from './select.ts'
import type { Session } from '../session.ts'
import { shrink } from './shrink.ts'
import { trainClassifier } from './train-classifier.ts'
import { trainDiffusion } from './train-diffusion.ts'
import { version } from '../../version.ts'
import { print, tell } from '../print.ts'

const options = {
  data: images({ value: 'DATA', help: 'the images: a folder of PNG and JPEG files, an .npz, or an IDX file' }),
  out: output({ value: 'DIR', help: 'folder for everything that is made', otherwise: 'out/NAME' }),
  hours: number({
    value: 'H',
    min: 0,
    max: 10_000,
    help: 'for images: how long it may take, as in 0.08 for five minutes',
  }),
  size: integer({
    value: 'N',
    min: 8,
    help: 'for images: side of the pictures that are learned and drawn',
    otherwise: 'as large as the time allows',
  }),
  augment: choice(['none', 'flip', 'symmetries'], {
    help: 'for images: how they are turned. flip: left and right; symmetries: the eight of the square',
    otherwise: 'flip',
  }),
  'dry-run': flag({ help: 'print the plan and stop' }),
  model: file({
    value: 'M.safetensors',
    help: 'a diffusion model instead of the one that the recipe trains or fetches',
  }),
  lpips: file({ value: 'FILE', help: 'LPIPS weights for the minority scores', otherwise: "the recipe's" }),
  images: text({
    value: 'N',
    help: 'length of the training of the diffusion model, in images seen',
    otherwise: "the recipe's",
  }),
  target: text({ value: '99|90-99', help: 'levels to draw', otherwise: "the recipe's" }),
  labels: text({ value: '3,8', help: 'classes to draw, for a class-conditional model' }),
  number: integer({ value: 'N', min: 1, max: 1000, help: 'samples', default: '16' }),
  seed: text({ value: 'N', help: 'of every stage', default: '0' }),
  microbatch: integer({
    value: 'N',
    min: 1,
    help: 'images at a time in training, for a device with little memory',
    otherwise: 'the batch',
  }),
  ...deviceOptions,
}

type Args = Arguments<typeof options>
type RecipeOption = keyof typeof options

/** The commands of a recipe's stages. */
export const stageCommands: Readonly<Record<StageCommand, Command>> = {
  fetch: fetchCommand,
  shrink,
  select,
  'train diffusion': trainDiffusion,
  score,
  label,
  'train classifier': trainClassifier,
  sample,
  quickstart,
  memorization,
}

export const recipe: Command<typeof options> = {
  name: 'recipe',
  usage: '[NAME] [--data DATA] [options]',
  summary: 'from data to minority samples in one command, with the published settings; without a name: list them',
  options,
  positionals: [0, 1],
  notes: [
    'Minority guidance is Um et al., ICLR 2024 (Eq. 7 and 8; Eq. 16 and 17 with classes), ' +
      'self-guidance Um & Ye, ECCV 2024.',
    'images is for a folder of your own: size, width, averages, levels and steps are picked for its images and ' +
      '--hours, at the speed that is measured here; the plan says why, and what each stage takes.',
    'The plan names the source of every figure, and says which are ours because none is published. The same ' +
      'command goes on with a recipe that was stopped.',
  ],
  examples: [
    'recipe',
    'recipe images --data my-images --hours 0.08 --out out/mine',
    'recipe imagenet --dry-run --labels 22',
    'recipe blood-cells --data bccd_cells_32.npz --out out/cells',
    'recipe cifar10 --data cifar10/train --number 64',
  ],
  async run(argv, session) {
    const args = parseArguments(recipe, argv)
    const [name] = args.positionals
    if (name === undefined) return list()
    if (name === imagesAbout.name) return runImages(args, session)
    const found = recipes.find((candidate) => candidate.name === name) ?? unknown(name)
    const dry = args.get('dry-run') ?? false
    const given = args.get('data')
    const data = given === undefined ? 'DATA' : dry ? given : resolve(given)
    const plan = planOf(found, args, data)
    const reads = plan.stages.some(({ argv }) => argv.includes(data))
    noteIdle(found, args, [
      ...forImages,
      ...(['target', 'labels', 'images'] as const).filter((one) => found.asks[one] === undefined),
    ])
    if (!dry && reads && given === undefined) args.required('data', `: ${found.data}`)
    for (const line of describe(found, plan)) print(line)
    if (dry) return
    if (reads) await stat(data).catch(() => fail(`there is no ${data}. The recipe ${found.name} needs ${found.data}.`))
    else if (given !== undefined) tell(`note: --data has no effect: no stage of this plan reads images.`)
    await run(found, plan, reads ? data : null, session)
  },
}

const forImages = ['hours', 'size', 'augment'] as const

const noteIdle = ({ name }: Pick<Recipe, 'name'>, args: Args, idle: readonly RecipeOption[]): void => {
  for (const option of idle) if (args.has(option)) tell(`note: --${option} has no effect in the recipe ${name}.`)
}

const unknown = (name: string): never => {
  const names = [...recipes, imagesAbout].map((candidate) => candidate.name)
  return fail(`there is no recipe "${name}"${didYouMean(name, names) || `. There are ${names.join(', ')}.`}`)
}

/** The recipe `images`: what it picks depends on the images, the hours and the machine. */
async function runImages(args: Args, session: Session): Promise<void> {
  noteIdle(imagesAbout, args, ['labels', 'images'])
  if (args.has('model'))
    fail(
      'the recipe images trains its own model: leave --model out. For a model that is there already, ' +
        'docs/training.md has the steps one by one.',
    )
  const data = resolve(args.required('data', `: ${imagesAbout.data}`))
  const hours = args.required('hours', ': how long it may take, as in --hours 0.08 for five minutes')
  const augment = args.get('augment')
  const [size, microbatch] = [args.get('size'), args.get('microbatch')]
  const wishes = {
    hours,
    number: args.get('number'),
    ...(size !== undefined && { size }),
    ...(microbatch !== undefined && { microbatch }),
    ...(augment && { augment }),
  }
  const set = await openClasses(data, new Arguments(classOptions, [], new Map()), session.signal)
  const out = args.path('out') ?? resolve('out', imagesAbout.name)
  const { measured: before } = await readRecord(join(out, 'recipe.json'), imagesAbout.name)
  const { recipe, measured } = await imagesRecipe(set, wishes, before ?? null, onDevice(session, args))
  const plan = planOf(recipe, args, data)
  for (const line of describe(recipe, plan)) print(line)
  if (!args.get('dry-run')) await run(recipe, plan, data, session, measured)
}

function list(): void {
  print('Recipes, with the published settings where there are any:')
  const width = Math.max(...recipes.map(({ name }) => name.length)) + 2
  for (const { name, about, data } of [imagesAbout, ...recipes])
    print(`  ${name.padEnd(width)}${about}. ${data === null ? 'No --data' : `--data: ${data}`}`)
}

export interface PlannedStage {
  readonly stage: Stage
  readonly argv: readonly string[]
  readonly output: string
  /** Option and value, and where the value is from. */
  readonly figures: readonly { readonly option: string; readonly value: string; readonly setting: Setting }[]
}

/** A recipe's commands with their arguments. Throws 'option' where the recipe asks for an option that is not given. */
export function planOf(recipe: Recipe, args: Args, data: string): { out: string; stages: PlannedStage[] } {
  const out = args.path('out') ?? resolve('out', recipe.name)
  const given = (name: RecipeOption): Setting | undefined => {
    const value = args.text(name)
    return value === undefined ? undefined : { value, source: `--${name}`, published: false }
  }
  const path = (name: 'model' | 'lpips'): Setting | undefined =>
    args.has(name) ? { ...given(name)!, value: args.path(name)! } : undefined
  const ask = (name: 'target' | 'labels' | 'images'): Setting | undefined => {
    const otherwise = recipe.asks[name]
    if (otherwise === null && !args.has(name))
      return fail(
        `the recipe ${recipe.name} needs --${name}: ${options[name].help}, as in --${name} ` +
          `${options[name].value}. No default is published.`,
      )
    return given(name) ?? otherwise ?? undefined
  }
  const words: Readonly<Record<string, Setting | undefined>> = {
    data: wire(data),
    out: wire(out),
    weights: wire(weightsFolder()),
    model: path('model') ?? wire(recipe.model),
    lpips: path('lpips') ?? (recipe.lpips === undefined ? undefined : wire(recipe.lpips)),
    target: ask('target'),
    labels: ask('labels'),
    images: ask('images'),
    number: given('number') ?? wire(options.number.default),
    seed: given('seed') ?? wire(options.seed.default),
  }
  const fill = (text: string): string | null => {
    for (const [, word] of text.matchAll(/\{(\w+)\}/g)) {
      const setting = words[word]
      if (setting === undefined) return null
      const value = fill(setting.value)
      if (value === null) return null
      text = text.replace(`{${word}}`, () => value)
    }
    return text
  }
  const extra = (command: StageCommand): Record<string, Setting> => {
    const found: Record<string, Setting> = {}
    const add = (option: string, setting: Setting | undefined): void =>
      void (setting && option in stageCommands[command].options && (found[option] = setting))
    for (const name of machine as RecipeOption[]) add(name, given(name))
    // A published model whose file does not say what it is.
    if (args.has('model') && recipe.preset !== undefined && 'model' in stageCommands[command].options)
      add(command === 'train classifier' ? 'model-preset' : 'preset', wire(recipe.preset))
    return found
  }
  const stages = recipe.stages
    .filter(({ unless }) => unless === undefined || !args.has(unless))
    .map((stage): PlannedStage => {
      const figures = Object.entries({ ...stage.options, ...extra(stage.command) }).flatMap(([option, setting]) => {
        const value = fill(setting.value)
        // Of an option of this command, the source is that of the recipe's default.
        const word = /^\{(\w+)\}$/.exec(setting.value)?.[1]
        const origin = setting.source.startsWith('--') && word !== undefined ? (words[word] ?? setting) : setting
        return value === null ? [] : [{ option, value, setting: origin }]
      })
      // A switch, or `--option value`; a value that begins with dashes stays one.
      const typed = figures.flatMap(({ option, value }) => (value === '' ? [`--${option}`] : [`--${option}`, value]))
      const positionals = (stage.positionals ?? []).map((text) => fill(text) as string)
      return { stage, argv: [...positionals, ...typed], output: fill(stage.output) as string, figures }
    })
  return { out, stages }
}

/** The plan for people: each command as it would be typed, and where its figures are from. */
export function describe(
  { name, about, notes, plan = [] }: Recipe,
  { out, stages }: { out: string; stages: readonly PlannedStage[] },
): string[] {
  const quoted = (word: string): string => (/^[\w./,:=@+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)
  const lines = [`Recipe ${name}: ${about}. Everything goes into ${out}.`, ...plan]
  stages.forEach(({ stage, argv, figures }, i) => {
    lines.push(
      '',
      `${i + 1}. tweedie ${stage.command} ${argv.map(quoted).join(' ')}`,
      ...(stage.takes === undefined ? [] : [`     ${stage.takes}`]),
    )
    for (const {
      option,
      value,
      setting: { source, published },
    } of figures) {
      const from = source.startsWith('--') ? `as given with ${source}` : published ? source : `OURS: ${source}`
      if (source !== '') lines.push(`     ${`--${option} ${basename(value)}`.trimEnd().padEnd(42)} ${from}`)
    }
  })
  return [...lines, ...(notes.length > 0 ? ['', ...notes.map((note) => `Note: ${note}`)] : [])]
}

interface FinishedStage {
  readonly command: string
  readonly argv: readonly string[]
  readonly finished: string
  readonly seconds: number
}

interface RecipeRecord {
  readonly program: 'tweedie'
  readonly kind: 'recipe'
  readonly version: string
  readonly recipe: string
  /** Null where none is read. */
  readonly data: string | null
  /** What settings were picked by, so that the same command picks them again. */
  readonly measured?: Measured
  readonly stages: readonly FinishedStage[]
}

const machine: readonly string[] = ['microbatch', ...Object.keys(deviceOptions)]

/** The arguments that decide what comes out: with other threads a finished stage stays finished. */
const deciding = (argv: readonly string[]): string[] =>
  argv.filter(
    (word, i) =>
      !machine.includes(word.replace(/^--/, '')) && !machine.includes((argv[i - 1] ?? '').replace(/^--/, '')),
  )

/** Runs what is not finished. A stage whose arguments changed is run again, with all that follow. */
export async function run(
  recipe: Pick<Recipe, 'name'>,
  { out, stages }: { out: string; stages: readonly PlannedStage[] },
  data: string | null,
  session: Session,
  measured?: Measured,
): Promise<void> {
  await using _ = await claimOutputs({
    command: `recipe ${recipe.name}`,
    inputs: data === null ? [] : [{ option: '--data', path: data }],
    folders: [{ option: '--out', path: out, names: /^recipe\.json$/, record: 'recipe.json' }],
  })
  const path = join(out, 'recipe.json')
  const { stages: earlier } = await readRecord(path, recipe.name)
  const finished: FinishedStage[] = []
  const save = (): Promise<void> => {
    const record: RecipeRecord = {
      program: 'tweedie',
      kind: 'recipe',
      version,
      recipe: recipe.name,
      data,
      ...(measured && { measured }),
      stages: finished,
    }
    return writeText(path, `${jsonText(record, path, 2)}\n`)
  }
  if (measured && earlier.length === 0) await save()
  let behind = false
  for (const [i, planned] of stages.entries()) {
    const {
      stage: { command },
      argv,
      output,
    } = planned
    session.signal.throwIfAborted()
    const before = earlier[i]
    const heading = `[${i + 1}/${stages.length}] ${command}`
    const same = before?.command === command && JSON.stringify(deciding(before.argv)) === JSON.stringify(deciding(argv))
    if (!behind && same && (await exists(output))) {
      tell(`${heading}: finished ${before.finished}`)
      finished.push(before)
      continue
    }
    behind = true
    tell(heading)
    await mkdir(dirname(output), { recursive: true })
    const start = performance.now()
    await runStage(planned, { out, ours: earlier.length > 0 }, session)
    finished.push({
      command,
      argv,
      finished: new Date().toISOString(),
      seconds: Math.round((performance.now() - start) / 100) / 10,
    })
    await save()
  }
  print(`${path}: ${stages.length === 1 ? 'its stage is' : `all ${stages.length} stages are`} finished`)
}

/**
 * Runs a stage. If it refuses what is there, and the folder is `ours`, that was made from something else than it would
 * be now: it is moved aside, and the stage begins anew.
 */
async function runStage(
  { stage: { command }, argv, figures }: PlannedStage,
  { out, ours }: { out: string; ours: boolean },
  session: Session,
): Promise<void> {
  const made: string[] = []
  for (const { option, value } of figures)
    if (['out', 'html'].includes(option) && value.startsWith(out) && (await exists(value))) made.push(value)
  const start = (): Promise<void> => stageCommands[command].run(argv, session)
  try {
    return await start()
  } catch (error) {
    const refused = error instanceof TweedieError && error.code === 'option' && ours && made.length > 0
    // Another process is at work there.
    if (!refused || (await Promise.all(made.map(isClaimed))).includes(true)) throw error
  }
  const aside = await freeFolder(out)
  tell(
    `note: ${made.map((path) => basename(path)).join(' and ')} of before cannot be gone on ` +
      `with, and lie in ${aside} now.`,
  )
  for (const path of made) await rename(path, join(aside, basename(path)))
  try {
    await start()
  } catch (error) {
    // It was something else.
    if (error instanceof TweedieError && error.code === 'option') {
      for (const path of made) if (!(await exists(path))) await rename(join(aside, basename(path)), path)
      await rmdir(aside).catch(() => {})
    }
    throw error
  }
}

/** earlier-1, or the next that is not there. */
async function freeFolder(out: string): Promise<string> {
  for (let i = 1; ; i++) {
    const folder = join(out, `earlier-${i}`)
    if (
      await mkdir(folder).then(
        () => true,
        (error: NodeJS.ErrnoException) => (error.code === 'EEXIST' ? false : Promise.reject(error)),
      )
    )
      return folder
  }
}

/** The record of a recipe that was begun; empty where none was. */
async function readRecord(path: string, name: string): Promise<Pick<RecipeRecord, 'stages' | 'measured'>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' ? null : Promise.reject(error),
  )
  return text === null ? { stages: [] } : recordIn(text, path, name)
}

/** That record, of the recipe `name`, from its text. */
export function recordIn(text: string, path: string, name: string): RecipeRecord {
  const record = parseJson<RecipeRecord>(
    text,
    path,
    'the record of a recipe (remove it, and finished stages are run again, or choose another --out)',
    fieldsOf({
      kind: oneOf('recipe'),
      recipe: aText,
      stages: listOf(fieldsOf({ command: aText, argv: listOf(aText), finished: aText, seconds: aNumber })),
      measured: optional(
        fieldsOf({
          on: aText,
          pixelsPerSecond: optional(aNumber),
          imagesPerSecond: valuesOf(fieldsOf({ diffusion: aNumber, classifier: aNumber })),
        }),
      ),
    }),
  )
  return record.recipe === name
    ? record
    : fail(`${path} is the record of the recipe ${record.recipe}: choose another --out.`)
}
