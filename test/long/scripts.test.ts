/**
 * docs/scripts.md: every command of its tables, run with networks of 8 x 8 pixels in the place of the published ones
 * and a few steps, images and samples in the place of thousands. LPIPS takes no picture that small: L2 is in its place.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { commands } from '../../src/cli/main.ts'
import type { OptionTable } from '../../src/cli/option.ts'
import { encodePng } from '../../src/data/index.ts'
import { spaceNames } from '../../src/metrics/index.ts'
import { preset, presetNames, type DiffusionSettings, type ModelConfig } from '../../src/nn/index.ts'
import { read } from '../blocks.ts'
import { temporaryFolder, tweedie } from '../cli.ts'
import { npy, npz } from '../data-fixtures.ts'
import { numbers } from '../op.ts'
import { base, classifier, onFeatures, upsampler, writeModel } from '../small-models.ts'

const at = temporaryFolder()
const linear: DiffusionSettings = { schedule: 'linear', diffusionSteps: 1000, rescaleTimesteps: false }

/** The rows of all tables: a script, what for, a command. */
const rows = [...read('docs/scripts.md').matchAll(/^\| (.+?) \| (.+) \| `(.+)` \|$/gm)].map(
  ([, script, what, command], k) => ({ name: `${script.replaceAll('`', '')}, ${what}`, command, k }),
)

/** Words of a command; what stands in quotes is one. */
const wordsOf = (command: string): string[] =>
  [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, word]) => quoted ?? word)

/** The README's variables, for small networks. */
const flags = {
  MODEL_FLAGS:
    '--image_size 8 --num_channels 32 --num_res_blocks 1 --channel_mult 1,2 --attention_resolutions 4 ' +
    '--learn_sigma True',
  DIFFUSION_FLAGS: '--diffusion_steps 1000 --noise_schedule linear',
  CLASSIFIER_FLAGS: '--image_size 8 --classifier_width 64 --classifier_depth 1 --classifier_attention_resolutions 8',
}
const onLatents =
  '--latent_size 8 --in_channels 64 --out_channels 3 --classifier_width 64 --classifier_depth 1 ' +
  '--classifier_attention_resolutions 8'

/** What stands in the place of figures that would take hours. */
const small: Readonly<Record<string, (word: string) => string>> = {
  number: () => '2',
  batch: () => '2',
  microbatch: () => '1',
  images: () => '4',
  'small-size': () => '4',
  levels: () => '2',
  draws: () => '2',
  respacing: (word) => (word.startsWith('ddim') ? 'ddim5' : '5'),
  'upsampler-respacing': () => '2',
  flags: (word) => word.replace(/\$(\w+)/g, (_, name: string) => flags[name as keyof typeof flags]),
}

/** The network that a file of the page is, small: of the published one's kind. */
function networkOf(option: string, published: string | undefined): ModelConfig {
  const classes = published === undefined ? null : preset(published).config.numClasses
  const own = { numClasses: classes === null ? null : 3 }
  if (option === 'upsampler') return { ...upsampler, ...own }
  if (option === 'classifier') return { ...classifier, outChannels: 3 }
  if (option === 'extractor') return extractor
  if (option === 'minority-classifier') return { ...onFeatures, imageSize: 8, outChannels: 100 }
  return { ...base, ...own }
}
/** Of features 64 x 8 x 8, as the least of latent_size. */
const extractor: ModelConfig = { ...classifier, channelMult: [2], attentionResolutions: [1] }

const presetOption: Readonly<Record<string, string>> = {
  model: 'preset',
  classifier: 'classifier-preset',
  'minority-classifier': 'minority-preset',
  extractor: 'extractor-preset',
  upsampler: 'upsampler-preset',
}

/** The command with small things in the place of large ones; writes the networks that it names. */
async function toy(command: string, k: number): Promise<string[]> {
  const latent = command.includes('--extractor')
  const words = wordsOf(latent ? command.replace('$CLASSIFIER_FLAGS', onLatents) : command)
  const name = commands.map((one) => one.name).find((one) => `${words.join(' ')} `.startsWith(`${one} `))!
  const { options } = commands.find((one) => one.name === name)! as { options: OptionTable }
  const given = new Map<string, string>()
  for (let i = name.split(' ').length; i < words.length; i++) {
    const option = words[i].slice(2)
    expect(Object.keys(options), words[i]).toContain(option)
    given.set(option, options[option].value === undefined ? 'true' : words[++i])
  }
  const argv = [...name.split(' '), '--backend=cpu'].slice(0, ['label'].includes(name) ? 1 : undefined)
  // All steps of the training, and the samples of a checkpoint, would take most of the time.
  if ('respacing' in options && !given.has('respacing') && !given.has('base-samples')) given.set('respacing', '5')
  if ('samples' in options && name.startsWith('train')) given.set('samples', '0')
  if ('out' in options && !given.has('out') && name !== 'label') given.set('out', `row-${k}`)
  for (const [option, word] of given) {
    if (Object.values(presetOption).includes(option)) {
      expect(presetNames(), word).toContain(word)
    } else if (option in presetOption && !word.startsWith('runs/')) {
      await writeModel(at(word), networkOf(option, given.get(presetOption[option])), { diffusion: linear })
      argv.push(`--${option}=${at(word)}`)
    } else if (option === 'lpips') {
      argv.push('--distance=l2')
    } else if (option === 'features') {
      expect(spaceNames).toContain(word.split('=')[0])
      argv.push('--features=pixels')
    } else {
      const { path, value } = options[option]
      const shown = path === undefined ? (small[option]?.(word) ?? word) : at(word)
      argv.push(value === undefined ? `--${option}` : `--${option}=${shown}`)
    }
  }
  return argv
}

beforeAll(() => {
  const pixels = (k: number): Uint8Array => Uint8Array.from(numbers(8 * 8 * 3, k), (value) => 128 + 60 * value)
  const picture = (folder: string, name: string, k: number): void => {
    mkdirSync(at(folder), { recursive: true })
    writeFileSync(join(at(folder), name), encodePng({ width: 8, height: 8, channels: 3, data: pixels(k) }))
  }
  for (let k = 0; k < 12; k++) {
    picture('images', `${k}.png`, k)
    picture('imagenet', `${'abc'[k % 3]}_${k}.png`, k)
    // The level of four digits, then the name that the picture had.
    picture('levelled/train', `000${k % 3}_${k}.png`, k)
  }
  const samples = (count: number): Uint8Array =>
    npz({
      arr_0: npy('|u1', [count, 8, 8, 3], Array.from({ length: count }, (_, k) => [...pixels(100 + k)]).flat()),
      arr_1: npy(
        '|u1',
        [count],
        Array.from({ length: count }, (_, k) => k % 3),
      ),
    })
  for (const name of ['64_samples.npz', '128_samples.npz']) writeFileSync(at(name), samples(6))
  writeFileSync(at('reference.npz'), samples(24))
})

describe('docs/scripts.md', () => {
  test('has all of them', () => {
    expect(rows.length).toBeGreaterThan(35)
  })

  const done = new Set<string>()
  test.each(rows)('$name', async ({ command, k }) => {
    if (done.has(command)) return
    done.add(command)
    const { code, err } = await tweedie(await toy(command, k))
    expect(code, err.join('\n')).toBe(0)
  })

  test('what was trained on a folder with levels leads to them, and knows no thresholds', async () => {
    const path = at('runs/minority-of-folder/model.safetensors')
    const { out } = await tweedie(['info', path])
    expect(out.join('\n')).toMatch(/3 minority levels.*\n.*not known: the images came with their levels\n.*features of/)
    await writeModel(at('drawing.pt'), base, { diffusion: linear })
    const led = (...more: string[]): string[] => [
      ...[
        'sample',
        '--model',
        at('drawing.pt'),
        '--minority-classifier',
        path,
        '--extractor',
        at('256x256_classifier.pt'),
      ],
      ...['--respacing', '2', '--number', '1', '--backend', 'cpu', '--out', at('led'), ...more],
    ]
    const tilted = await tweedie(led('--minority-tilt'))
    expect([tilted.code, tilted.err.at(-1)]).toEqual([1, expect.stringContaining('needs the thresholds of its levels')])
    const { code, err } = await tweedie(led('--minority-target', 'rarest'))
    expect(code, err.join('\n')).toBe(0)
  })
})
