/**
 * Attention where it was asked for: a level that is not there is refused, and what files of before say of such is
 * nothing.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import { parseArguments } from '../src/cli/arguments.ts'
import { attentionBefore } from '../src/cli/options/attention.ts'
import { classifierNetworkOf } from '../src/cli/options/classifier.ts'
import { networkOf } from '../src/cli/options/network.ts'
import { trainClassifier } from '../src/cli/commands/train-classifier.ts'
import { trainDiffusion } from '../src/cli/commands/train-diffusion.ts'
import { encodeSafetensors } from '../src/io/index.ts'
import { checkConfig, parseConfig, planOf, preset, presetNames } from '../src/nn/index.ts'
import { temporaryFolder } from './cli.ts'

const at = temporaryFolder()
const diffusion = async (size: number, ...more: string[]): Promise<number[]> =>
  (await networkOf(parseArguments(trainDiffusion, more), { size, channels: 3, classes: null })).config
    .attentionResolutions
const classifier = (size: number, ...more: string[]): number[] =>
  classifierNetworkOf(parseArguments(trainClassifier, more), {
    model: null,
    extractor: null,
    data: { size, channels: 3, classes: null },
    outputs: 4,
  }).config.attentionResolutions

test('sides on the command line: those there are, or an error that lists them', async () => {
  expect(await diffusion(32, '--attention-resolutions', '16,8')).toEqual([2, 4])
  expect(await diffusion(32, '--attention-resolutions', 'none')).toEqual([])
  expect(classifier(32, '--classifier-attention-resolutions', '16,8')).toEqual([2, 4])
  expect(classifier(8, '--classifier-channel-mult', '1', '--classifier-attention-resolutions', '8')).toEqual([1])
  for (const wrong of ['7', '64', '0', '16,12']) {
    const side = wrong.split(',').at(-1)!
    const message = `attention-resolutions: no level has maps of side ${side}: the levels have 32, 16, 8 (or none).`
    await expect(diffusion(32, '--attention-resolutions', wrong)).rejects.toMatchObject({
      code: 'option',
      message: `--${message}`,
    })
    expect(() => classifier(32, '--classifier-attention-resolutions', wrong)).toThrow(`--classifier-${message}`)
  }
})

test('by default at 8, else at a level that is there, which is said', async () => {
  const said = vi.spyOn(console, 'error').mockImplementation(() => {})
  try {
    expect([await diffusion(32), await diffusion(8), classifier(32)]).toEqual([[4], [1], [4]])
    expect(said).not.toHaveBeenCalled()
    // Maps of 28, 14 and 7; of 64, 32 and 16.
    expect([await diffusion(28), await diffusion(64), classifier(28)]).toEqual([[4], [4], [4]])
    expect(said.mock.calls.flat()[0]).toBe(
      'note: attention at maps of side 7; --attention-resolutions chooses others of 28, 14, 7.',
    )
  } finally {
    said.mockRestore()
  }
})

test("a configuration: rates in a list, sides in a text as in guided-diffusion's flag", async () => {
  const json = {
    image_size: 32,
    model_channels: 32,
    num_res_blocks: 1,
    channel_mult: [1, 2, 2],
    num_head_channels: 32,
    diffusion: { noise_schedule: 'cosine', diffusion_steps: 1000 },
  }
  const given = (attention: unknown) => {
    writeFileSync(at('config.json'), JSON.stringify({ ...json, attention_resolutions: attention }))
    return diffusion(32, '--config', at('config.json'))
  }
  expect(await given([2, 4])).toEqual([2, 4])
  expect(await given('16, 8')).toEqual([2, 4])
  expect(await given('')).toEqual([])
  await expect(given([16, 8])).rejects.toThrow(
    'attentionResolutions are downsample rates, and no level has 16, 8: the levels have 1 (maps of side 32), 2 ' +
      '(maps of side 16), 4 (maps of side 8)',
  )
  await expect(given('16,7')).rejects.toThrow(
    'attention_resolutions "16,7" are sides of maps, and no level has 7: the levels have 32, 16, 8',
  )
})

test('every published network has attention wherever it says', () => {
  for (const name of presetNames()) {
    const { config } = preset(name)
    checkConfig(config)
    expect(config.attentionResolutions.length, name).toBeGreaterThan(0)
  }
  expect(preset('mc_lsun').config.attentionResolutions).toEqual([1])
  expect(() => planOf({ ...preset('mc_lsun').config, attentionResolutions: [2] })).toThrow(
    'no level has 2: the levels have 1 (maps of side 8)',
  )
})

test('files of before November 2026 that say such a rate still open, and a run goes on with what it had', async () => {
  const config = {
    image_size: 28,
    model_channels: 32,
    num_res_blocks: 1,
    channel_mult: [1, 2, 2],
    attention_resolutions: [3, 2],
  }
  expect(
    parseConfig(config, new Map([['input_blocks.0.0.weight', [32, 1, 3, 3]]])).config.attentionResolutions,
  ).toEqual([2])
  mkdirSync(at('run'))
  const metadata = { kind: 'tweedie-training', run: JSON.stringify({ config: JSON.stringify(config) }), counters: '{}' }
  writeFileSync(
    at('run/state.safetensors'),
    Buffer.concat(encodeSafetensors([['x', { shape: [1], data: new Float32Array(1) }]], metadata)),
  )
  const before = await attentionBefore({ out: at('run'), resume: true }, new AbortController().signal)
  expect(before).toEqual([2])
  expect(
    (await networkOf(parseArguments(trainDiffusion, []), { size: 28, channels: 1, classes: null }, before)).config
      .attentionResolutions,
  ).toEqual([2])
  expect(await attentionBefore({ out: at('run'), resume: false }, new AbortController().signal)).toBeNull()
})
