/** `--from`: what a training takes over from a model file, and what it says of one that does not fit. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { sha256Of } from '../../src/cli/files.ts'
import { openCheckpoint, openFile } from '../../src/io/index.node.ts'
import { temporaryFolder, tweedie } from '../cli.ts'
import { npy, npz } from '../data-fixtures.ts'
import { base, classifier, writeModel } from '../small-models.ts'

const at = temporaryFolder()
const pictures = fileURLToPath(new URL('../fixtures/first-training/pictures', import.meta.url))
const data = at('data.npz')

beforeAll(async () => {
  const labels = Array.from({ length: 12 }, (_, i) => i % 10)
  writeFileSync(
    data,
    npz({
      images: npy(
        '|u1',
        [12, 8, 8, 3],
        Uint8Array.from({ length: 12 * 192 }, (_, i) => (i * 37) % 251),
      ),
      labels: npy('|u1', [12], labels),
    }),
  )
  await writeModel(at('unet.safetensors'), base, { seed: 5 })
  await writeModel(at('classifier.safetensors'), classifier, { seed: 5 })
})

async function valuesOf(file: string): Promise<Record<string, unknown>> {
  const checkpoint = await openCheckpoint(await openFile(file))
  const values: Record<string, unknown> = {}
  for (const [key, entry] of checkpoint.tensors) values[key] = await entry.read()
  await checkpoint.close()
  return values
}

const settingsOf = async (file: string): Promise<Record<string, unknown>> => {
  const checkpoint = await openCheckpoint(await openFile(file))
  await checkpoint.close()
  return JSON.parse(checkpoint.metadata.run) as Record<string, unknown>
}

// At this rate, which is 0 in 32 bits, no step changes a weight: what is trained is what was given.
const options = (out: string): string[] => [
  '--out',
  at(out),
  '--images',
  '4',
  '--batch',
  '2',
  '--lr',
  '1e-60',
  '--backend',
  'cpu',
  '--threads',
  '1',
]
const diffusion = (out: string, ...more: string[]): string[] => [
  'train',
  'diffusion',
  '--data',
  data,
  '--samples',
  '0',
  '--evaluate-on',
  '0',
  '--ema',
  '0.5',
  ...options(out),
  ...more,
]
const levels = [
  'train',
  'classifier',
  '--of',
  'classes',
  '--data',
  data,
  '--model',
  '',
  '--evaluate-on',
  '0',
  '--weight-decay',
  '0',
]
const classes = (out: string, ...more: string[]): string[] => [
  ...levels.map((word) => word || at('unet.safetensors')),
  ...options(out),
  ...more,
]
const small = [
  '--classifier-width',
  '32',
  '--classifier-depth',
  '1',
  '--classifier-channel-mult',
  '1,2',
  '--classifier-head-channels',
  '16',
]

async function ends(argv: readonly string[]): Promise<string> {
  const { code, err } = await tweedie(argv)
  expect(code, err.join('\n')).toBe(0)
  return err.join('\n')
}

async function refused(argv: readonly string[], message: RegExp): Promise<void> {
  const { code, err } = await tweedie(argv)
  expect([code, err.at(-1)]).toEqual([1, expect.stringMatching(message)])
}

test('a diffusion model: its network where no option says another, its weights, averages as copies', async () => {
  await ends(diffusion('unet', '--from', at('unet.safetensors')))
  const given = await valuesOf(at('unet.safetensors'))
  for (const name of ['model', 'ema-0.5'])
    expect(await valuesOf(join(at('unet'), `${name}.safetensors`))).toEqual(given)
  expect((await settingsOf(join(at('unet'), 'state.safetensors'))).from).toBe(
    sha256Of(readFileSync(at('unet.safetensors'))),
  )
  // It goes on as the run that it is.
  await ends([...diffusion('unet', '--from', at('unet.safetensors'), '--resume')])
  await refused(diffusion('unet', '--resume'), /is of a run with other settings: /)
})

test('what does not fit is named', async () => {
  const from = ['--from', at('unet.safetensors')]
  const network = ['--num-channels', '32', '--channel-mult', '1,2', '--attention-resolutions', '4']
  await refused(
    diffusion('never', ...from, '--num-channels', '64', '--channel-mult', '1,2'),
    /does not fit the network of \d+ tensors: .*of another shape: .*time_embed\.0\.weight \[128, 32\] instead of \[256, 64\]/,
  )
  await refused(
    diffusion('never', ...from, ...network, '--num-head-channels', '8'),
    /unet\.safetensors is of another network: num_head_channels \d+, now 8/,
  )
  await refused(
    diffusion('never', '--from', at('classifier.safetensors')),
    /classifier\.safetensors is no U-Net, which draws images, but a classifier/,
  )
  await refused(
    diffusion('never', '--from', join(at('unet'), 'state.safetensors')),
    /the state of a training run, with which --resume goes on/,
  )
  await refused(
    classes('never', '--from', at('unet.safetensors'), ...small),
    /unet\.safetensors does not fit the network/,
  )
})

test('a classifier', async () => {
  const checkpoint = await openCheckpoint(await openFile(at('classifier.safetensors')))
  await checkpoint.close()
  const config = JSON.parse(checkpoint.metadata.config) as Record<string, number[] | number>
  const network = [
    '--classifier-width',
    String(config.model_channels),
    '--classifier-depth',
    String(config.num_res_blocks),
    '--classifier-channel-mult',
    String(config.channel_mult),
    '--classifier-head-channels',
    String(config.num_head_channels),
    '--classifier-attention-resolutions',
    String((config.attention_resolutions as number[]).map((rate) => 8 / rate)),
    '--classifier-pool',
    String(config.pool),
  ]
  await ends(classes('classifier', '--from', at('classifier.safetensors'), ...network))
  expect(await valuesOf(join(at('classifier'), 'model.safetensors'))).toEqual(
    await valuesOf(at('classifier.safetensors')),
  )
})

test('a feature net, with its heads where the file has them', async () => {
  const features = (out: string, ...more: string[]): string[] => [
    'train',
    'features',
    '--data',
    pictures,
    '--channels',
    '2,2',
    '--ema',
    '0.5',
    ...options(out),
    ...more,
  ]
  await ends(features('first', '--seed', '3'))
  expect(await ends(features('whole', '--from', join(at('first'), 'model.safetensors')))).not.toContain('heads')
  const given = await valuesOf(join(at('first'), 'model.safetensors'))
  for (const name of ['model', 'ema-0.5'])
    expect(await valuesOf(join(at('whole'), `${name}.safetensors`))).toEqual(given)
  expect(await ends(features('net', '--from', join(at('first'), 'features.safetensors')))).toContain(
    'has no heads for this training: they begin anew',
  )
  expect(await valuesOf(join(at('net'), 'features.safetensors'))).toEqual(
    await valuesOf(join(at('first'), 'features.safetensors')),
  )
  await refused(features('never', '--from', at('unet.safetensors')), /unet\.safetensors does not fit the network/)
})
