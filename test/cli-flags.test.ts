/**
 * `--flags "$MODEL_FLAGS"`: every command that takes --preset takes the flags of the scripts that
 * trained a network, too.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { encodeSafetensors, openCheckpoint, openFile, writeFileAtomic } from '../src/io/index.node.ts'
import { configMetadata } from '../src/nn/config-metadata.ts'
import { describeModel, planOf, stateDictOf, type ModelDescription } from '../src/nn/index.ts'
import { Tweedie } from '../src/tweedie/index.node.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { npy, npz } from './data-fixtures.ts'
import { hashes, waves } from './formula.ts'
import { base, cosine, writeModel } from './small-models.ts'

const at = temporaryFolder()
const flags =
  'MODEL_FLAGS="--image_size 8 --num_channels 32 --num_res_blocks 1 --num_heads 1 --num_head_channels 16 ' +
  '--channel_mult 1,2 --attention_resolutions 4 --resblock_updown True --use_new_attention_order True ' +
  '--learn_sigma True --noise_schedule cosine --batch_size 4"'
const cpu = ['--backend', 'cpu', '--threads', '1']

async function run(...argv: string[]): Promise<string> {
  const { code, out, err } = await tweedie(argv)
  expect(code, err.join('\n')).toBe(0)
  return out.join('\n')
}

async function refused(message: string | RegExp, ...argv: string[]): Promise<void> {
  const { code, err } = await tweedie(argv)
  expect(err.at(-1), argv.join(' ')).toMatch(message)
  expect(code).toBe(1)
}

async function saidBy(path: string): Promise<ModelDescription & { metadata: Readonly<Record<string, string>> }> {
  const checkpoint = await openCheckpoint(await openFile(path))
  const { metadata } = checkpoint
  const description = describeModel(checkpoint)
  await checkpoint.close()
  return { ...description, metadata }
}

/** The weights of `told`, and the same in a file that says nothing. */
const [told, silent] = [at('told.safetensors'), at('silent.safetensors')]

beforeAll(async () => {
  await writeModel(told, base)
  const fill = hashes(1)
  await writeFileAtomic(
    silent,
    encodeSafetensors(
      [...stateDictOf(planOf(base))].map(([key, shape], j) => [key, { shape, data: fill(key, shape, j) }] as const),
    ),
  )
  writeFileSync(
    at('data.npz'),
    npz({
      images: npy(
        '|u1',
        [6, 8, 8, 3],
        Uint8Array.from({ length: 6 * 192 }, (_, i) => (i * 37) % 256),
      ),
    }),
  )
  await writeFileAtomic(
    at('in.safetensors'),
    encodeSafetensors([
      ['x', { shape: [1, 3, 8, 8], data: Float32Array.from(waves([1, 3, 8, 8], 0.11)) }],
      ['timesteps', { shape: [1], data: Float32Array.of(500) }],
    ]),
  )
})

test('sample draws what it draws of a file that says what it is, keeps the flags, and is replayed', async () => {
  const sample = (model: string, out: string, ...more: string[]): Promise<string> =>
    run('sample', '--model', model, '--respacing', '2', '--number', '1', '--out', at(out), ...cpu, ...more)
  await sample(told, 'told')
  await sample(silent, 'flagged', '--flags', flags)
  const picture = (folder: string): Buffer => readFileSync(join(at(folder), 'sample-0000.png'))
  expect(picture('flagged')).toEqual(picture('told'))
  const { options } = JSON.parse(readFileSync(join(at('flagged'), 'run.json'), 'utf8')) as RunRecord
  expect(options.flags).toBe(flags)
  await run('replay', join(at('flagged'), 'run.json'), '--out', at('again'), ...cpu)
  expect(picture('again')).toEqual(picture('told'))
})

test('score, forward and info', async () => {
  const score = (model: string, out: string, ...more: string[]): Promise<string> =>
    run(
      'score',
      '--model',
      model,
      '--data',
      at('data.npz'),
      '--distance',
      'l2',
      '--out',
      at(`${out}.csv`),
      ...cpu,
      ...more,
    )
  await score(told, 'of-told')
  await score(silent, 'of-flags', '--flags', flags)
  expect(readFileSync(at('of-flags.csv'), 'utf8')).toBe(readFileSync(at('of-told.csv'), 'utf8'))
  const forward = (model: string, out: string, ...more: string[]): Promise<string> =>
    run(
      'forward',
      '--model',
      model,
      '--input',
      at('in.safetensors'),
      '--save',
      at(`${out}.out.safetensors`),
      ...cpu,
      ...more,
    )
  await forward(told, 'of-told')
  await forward(silent, 'of-flags', '--flags', flags)
  expect(readFileSync(at('of-flags.out.safetensors'))).toEqual(readFileSync(at('of-told.out.safetensors')))
  const info = async (...argv: string[]): Promise<string[]> => (await run('info', ...argv)).split('\n').slice(1)
  expect(await info(silent, '--flags', flags)).toEqual(await info(told))
})

test('convert writes it into the file', async () => {
  await run('convert', silent, at('converted.safetensors'), '--flags', flags)
  const { config, diffusion, metadata } = await saidBy(at('converted.safetensors'))
  expect({ config, diffusion }).toEqual({
    config: base,
    diffusion: { ...cosine, learnSigma: true, rescaleLearnedSigmas: false },
  })
  expect(metadata).toEqual(configMetadata(base, diffusion))
  // Over what the file says: it is what convert is for.
  await run('convert', told, at('linear.safetensors'), '--flags', flags.replace('cosine', 'linear'))
  expect((await saidBy(at('linear.safetensors'))).diffusion?.schedule).toBe('linear')
})

test('train diffusion and train classifier take the network from it', async () => {
  const training = ['--data', at('data.npz'), '--images', '2', '--batch', '2', '--evaluate-on', '0', ...cpu]
  await run('train', 'diffusion', ...training, '--samples', '0', '--flags', flags, '--out', at('trained'))
  expect(await saidBy(join(at('trained'), 'model.safetensors'))).toMatchObject({
    config: base,
    diffusion: { schedule: 'cosine', diffusionSteps: 1000, learnSigma: true },
  })
  await run('label', '--scores', await scores(), '--levels', '2', '--out', at('labels.json'))
  const classifier =
    '--latent_size 8 --classifier_width 64 --classifier_depth 1 --classifier_attention_resolutions ' +
    '8 --noise_schedule cosine'
  await run(
    'train',
    'classifier',
    ...training,
    '--labels',
    at('labels.json'),
    '--model',
    told,
    '--flags',
    classifier,
    '--validate',
    '0',
    '--out',
    at('levels'),
  )
  expect((await saidBy(join(at('levels'), 'model.safetensors'))).config).toMatchObject({
    kind: 'classifier',
    imageSize: 8,
    modelChannels: 64,
    numResBlocks: 1,
    channelMult: [1],
    attentionResolutions: [1],
    resblockUpdown: true,
    outChannels: 2,
  })
})

async function scores(): Promise<string> {
  await run('score', '--model', told, '--data', at('data.npz'), '--distance', 'l2', '--out', at('scores.json'), ...cpu)
  return at('scores.json')
}

test('Tweedie.load takes them', async () => {
  using model = await Tweedie.load(silent, { flags, backend: 'cpu', threads: 1, batch: 1 })
  const images = async (of: Tweedie): Promise<Float32Array | undefined> => {
    let values: Float32Array | undefined
    for await (const step of of.sample({ number: 1, steps: 2 })) ({ values } = step)
    return values
  }
  using same = await Tweedie.load(told, { backend: 'cpu', threads: 1, batch: 1 })
  expect(await images(model)).toEqual(await images(same))
})

test('what is wrong with them is one line', async () => {
  const sample = ['sample', '--model', silent, '--out', at('never')]
  await refused(/does not say what network it holds: .*give the flags it was trained with/, ...sample)
  await refused('--flags needs a value: --flags "--image_size 64 …".', ...sample, '--flags')
  await refused('--flags needs a value', ...sample, '--flags', '--seed', '1')
  await refused(
    'flags: unknown flag "num_chanels" (did you mean "num_channels"?).',
    ...sample,
    '--flags',
    '--num_chanels 32',
  )
  await refused(
    /silent\.safetensors .*time_embed/,
    ...sample,
    '--flags',
    flags.replace('--num_channels 32', '--num_channels 64'),
  )
  await refused(
    /^.*silent\.safetensors does not fit the network of \d+ tensors: /,
    'info',
    silent,
    '--flags',
    flags.replace('--num_res_blocks 1', '--num_res_blocks 2'),
  )
  await refused(
    'a preset and flags say the same thing: give one of them',
    ...sample,
    '--flags',
    flags,
    '--preset',
    'lsun_cat',
  )
  await refused(
    'told.safetensors says itself what network it holds and how it was trained, and the flags say otherwise',
    'sample',
    '--model',
    told,
    '--out',
    at('never'),
    '--flags',
    flags.replace('cosine', 'linear'),
  )
  await refused(
    '--config and --flags say the same thing: give one of them.',
    'convert',
    silent,
    at('never.safetensors'),
    '--flags',
    flags,
    '--config',
    'x.json',
  )
  const training = ['--data', at('data.npz'), '--images', '2', '--batch', '2', '--out', at('never')]
  await refused(
    '--preset and --flags say the same thing: give one of them.',
    'train',
    'diffusion',
    ...training,
    '--flags',
    flags,
    '--preset',
    'lsun_cat',
  )
  await refused(
    '--flags says all of the network and the process: leave --num-channels out.',
    'train',
    'diffusion',
    ...training,
    '--flags',
    flags,
    '--num-channels',
    '32',
  )
  await refused(
    /the network of --flags is a super-resolution U-Net.*: --small-size says of which side/,
    'train',
    'diffusion',
    ...training,
    '--flags',
    '--large_size 64',
  )
})
