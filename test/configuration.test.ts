/**
 * docs/configuration.md against the code: its keys, their types and defaults, and the flags of the scripts with theirs.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { configOfFlags, parseConfig, parseDiffusionSettings } from '../src/nn/index.ts'

const page = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8')

interface Row {
  readonly keys: readonly string[]
  readonly value: string
  readonly default: string
  readonly flag: string
  readonly flagDefault: string
}

const codes = (cell: string): string[] => Array.from(cell.matchAll(/`([^`]+)`/g), ([, code]) => code)
const plain = (cell: string): string => cell.replace(/`/g, '').trim()
const rowsOf = (heading: string): Row[] =>
  page
    .split(`## ${heading}\n`)[1]
    .split('\n## ')[0]
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => {
      const [, keys, value, otherwise, flag, flagDefault] = line.split('|') as [
        string,
        string,
        string,
        string,
        string,
        string,
      ]
      return {
        keys: codes(keys),
        value: value.trim(),
        default: otherwise.trim(),
        flag: plain(flag),
        flagDefault: plain(flagDefault),
      }
    })
const tables = { config: rowsOf('Keys of a configuration'), diffusion: rowsOf('Keys of a process') }

/** The smallest configuration and process there are. */
const config = {
  image_size: 64,
  model_channels: 64,
  num_res_blocks: 1,
  channel_mult: [1, 2],
  attention_resolutions: [2],
}
const diffusion = { noise_schedule: 'cosine', diffusion_steps: 1000 }
const readers = {
  config: {
    smallest: config as Record<string, unknown>,
    read: (json: object): unknown => parseConfig(json, new Map()).config,
  },
  diffusion: {
    smallest: diffusion as Record<string, unknown>,
    read: (json: object): unknown => parseDiffusionSettings(json),
  },
}

/** The keys that a parser asks for. */
function asked(json: object, read: (json: object) => unknown): string[] {
  const keys = new Set<string>()
  read(
    new Proxy(json, {
      getOwnPropertyDescriptor: (target, key) => (keys.add(String(key)), Reflect.getOwnPropertyDescriptor(target, key)),
    }),
  )
  return [...keys].sort()
}

/** Values of each type of the tables, and some that are of another. */
const types: Readonly<Record<string, { readonly wrong: readonly unknown[] }>> = {
  integer: { wrong: ['1', 1.5, true] },
  'integer or null': { wrong: ['1', 1.5] },
  number: { wrong: ['0.1', true] },
  'list of numbers': { wrong: [1, '1,2', [0]] },
  'list of integers, or text': { wrong: [2, [0], true] },
  'true or false': { wrong: [1, 'true'] },
  object: { wrong: [1, []] },
  2: { wrong: [3] },
}

describe.each(['config', 'diffusion'] as const)('the table of %s', (which) => {
  const { smallest, read } = readers[which]
  const rows = tables[which]

  test('has every key that is read, and no other', () => {
    expect(rows.flatMap(({ keys }) => keys).sort()).toEqual(asked(smallest, read))
  })

  test('has what is required: what has no default', () => {
    for (const {
      keys: [key],
      default: otherwise,
      value,
    } of rows) {
      const required = Object.hasOwn(smallest, key)
      expect(otherwise === '' && value !== 'object' && value !== 'anything', key).toBe(required)
      if (required) expect(() => read({ ...smallest, [key]: undefined }), key).toThrow(`${key} is missing`)
    }
  })

  test('has the defaults', () => {
    const absent = read(smallest)
    // A process says what it was told, and nothing where it was told nothing: the defaults are those of the
    // readers of its fields.
    const off = { meanType: 'epsilon', sigmaSmall: false, useKl: false, rescaleLearnedSigmas: false }
    for (const { keys, default: otherwise } of rows) {
      if (!/^`.*`$/.test(otherwise)) continue
      for (const key of keys) {
        const given = read({ ...smallest, [key]: JSON.parse(plain(otherwise)) as unknown })
        expect(which === 'config' ? given : { ...off, ...(given as object) }, key).toEqual(
          which === 'config' ? absent : { ...off, ...(absent as object) },
        )
      }
    }
  })

  test('has the types', () => {
    for (const { keys, value } of rows) {
      if (value === 'anything') continue
      const choices = value.includes(', ') && !value.startsWith('list') ? value.split(', ') : null
      for (const key of keys) {
        for (const wrong of choices ? ['nonsense', 1] : types[value].wrong)
          expect(() => read({ ...smallest, [key]: wrong }), `${key} ${JSON.stringify(wrong)}`).toThrow(/must be|found/)
        for (const choice of choices ?? [])
          expect(
            () => read({ ...smallest, ...(which === 'config' && { num_head_channels: 32 }), [key]: choice }),
            `${key} ${choice}`,
          ).not.toThrow()
      }
    }
  })
})

describe('the flags', () => {
  /** The defaults are those of a text that says nothing of them; `base` says which network it is. */
  const unchanged = (flag: string, value: string, base: string): void => {
    const { config, diffusion } = configOfFlags(`${base} --${flag} ${value}`)
    const absent = configOfFlags(base)
    expect({ config, diffusion }, flag).toEqual({ config: absent.config, diffusion: absent.diffusion })
  }

  test('have the defaults of the tables', () => {
    const rows = [...tables.config, ...tables.diffusion].filter(({ flag }) => flag !== '')
    expect(rows.length).toBeGreaterThan(18)
    for (const { flag, flagDefault } of rows) {
      // The script is told where the two differ: a flag that only one of them has.
      if (flagDefault !== '')
        unchanged(
          flag,
          flagDefault,
          flag === 'classifier_pool' ? '--classifier_width 128' : '--num_channels 128 --use_fp16 True',
        )
    }
  })

  test('of a classifier, too', () => {
    const rows = page
      .split('## Flags of a classifier\n')[1]
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map(codes)
    expect(rows.length).toBe(6)
    const said = tables.config.flatMap(({ keys }) => keys)
    for (const [flag, value, key] of rows as [string, string, string][]) {
      unchanged(flag, value, '--latent_size 64')
      expect(said).toContain(key)
    }
  })

  test('that the page names are known', () => {
    for (const name of [
      'large_size',
      'small_size',
      'latent_size',
      'batch_size',
      'timestep_respacing',
      'use_fp16',
      'model_path',
    ]) {
      expect(page).toContain(`\`${name}\``)
      expect(() =>
        configOfFlags(name.endsWith('_size') && name !== 'batch_size' ? `--${name} 64` : `--${name} 1`),
      ).not.toThrow()
    }
  })
})
