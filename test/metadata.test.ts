/** What files of models say of themselves: read as it was written, by functions that docs/formats.md names. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as data from '../src/data/index.ts'
import * as diffusion from '../src/diffusion/index.ts'
import {
  classifierMetadata,
  encodeClassifierMetadata,
  encodeMinorityMetadata,
  minorityMetadata,
  type MinorityMetadata,
} from '../src/diffusion/index.ts'
import * as library from '../src/library.ts'
import * as nn from '../src/nn/index.ts'
import { featureNetMetadata } from '../src/nn/index.ts'
import { modelRows } from '../src/cli/commands/info-training.ts'
import type { Checkpoint } from '../src/io/index.node.ts'
import * as train from '../src/train/index.ts'
import {
  classNames,
  encodeClassNames,
  trainingMetadata,
  trainingOf,
  type AnyTrainer,
  type RunChange,
} from '../src/train/index.ts'

test('a class-conditional model has the names of its classes, which info shows beside their labels', () => {
  const names = ['1', '2', '10']
  const metadata = encodeClassNames(names)
  expect([classNames(metadata, 'm'), classNames({}, 'm')]).toEqual([names, null])
  const rows = modelRows({ metadata, name: 'm' } as unknown as Checkpoint)
  expect(rows).toContainEqual(['classes', '0 1, 1 2, 2 10: for --labels'])
  expect(() => classNames({ classes: '{}' }, 'm')).toThrow('m, metadata "classes": expected names of classes')
})

describe('a minority classifier', () => {
  const all: MinorityMetadata = {
    levels: 3,
    thresholds: [0.5, 0.7, 0.9],
    within: 'all',
    schedule: 'cosine',
    diffusionSteps: 1000,
    rescaleTimesteps: false,
    extractor: null,
  }

  test('says its levels, thresholds, process and extractor', () => {
    const within: MinorityMetadata = {
      ...all,
      thresholds: [[1, 2, 3], [], [1, 2]],
      within: 'class',
      schedule: 'linear',
      rescaleTimesteps: true,
      extractor: { sha256: 'a'.repeat(64), name: '64x64_classifier.safetensors' },
    }
    for (const metadata of [all, within])
      expect(minorityMetadata(encodeMinorityMetadata(metadata), 'm')).toEqual(metadata)
    expect(classifierMetadata(encodeMinorityMetadata(all), 'm')).toEqual({ of: 'levels', names: ['0', '1', '2'] })
  })

  test('is not written with a threshold that is no number', () => {
    expect(() => encodeMinorityMetadata({ ...all, thresholds: [0.5, NaN, 0.9] })).toThrow(/thresholds\[1\] is NaN/)
  })
})

test.each(['classes', 'attributes', 'real'] as const)('a classifier of %s says what its outputs stand for', (of) => {
  const metadata = { of, names: ['a "quoted" name', 'b'] }
  expect(classifierMetadata(encodeClassifierMetadata(metadata), 'm')).toEqual(metadata)
  expect(minorityMetadata(encodeClassifierMetadata(metadata), 'm')).toBeNull()
})

test('a feature net says what it is, and on which side it was trained', () => {
  const { kind, config } = featureNetMetadata({ inChannels: 3, channels: [4, 6] }, 32)
  expect([kind, JSON.parse(config)]).toEqual(['features', { in_channels: 3, channels: [4, 6], image_size: 32 }])
})

describe('how a model was trained', () => {
  const trainer = (history: RunChange[] = []) => ({ step: 5, history, options: { batch: 4 } }) as AnyTrainer

  test('is read as it was written', () => {
    const history = [{ step: 2, what: 'its labels changed' }]
    expect(trainingOf(trainingMetadata(trainer(), { lr: 1e-4 }))).toEqual({ step: 5, images: 20, lr: 1e-4 })
    expect(trainingOf(trainingMetadata(trainer(history), { lr: 1e-4 }, 'm', { evaluation: { images: 3 } }))).toEqual({
      step: 5,
      images: 20,
      lr: 1e-4,
      history,
      evaluation: { images: 3 },
    })
    expect(() => trainingMetadata(trainer(), { lr: NaN }, 'ema.safetensors')).toThrow(
      'ema.safetensors is not written: lr is NaN',
    )
  })

  test.each([[{}], [{ training: 'three days' }], [{ training: 'null' }]])('%o says nothing', (metadata) => {
    expect(trainingOf(metadata as Record<string, string>)).toEqual({})
  })
})

test('docs/formats.md names functions that are where it says', async () => {
  const page = readFileSync(new URL('../docs/formats.md', import.meta.url), 'utf8')
  const rows = page
    .split('### From a program')[1]
    .split('###')[0]
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(2)
  const entries: Record<string, object> = {
    tweedie: library,
    'tweedie/train': train,
    'tweedie/diffusion': diffusion,
    'tweedie/nn': nn,
    'tweedie/data': data,
  }
  const missing = rows.flatMap((row) => {
    const [, , writers = '', readers = '', entry = ''] = row.split('|').map((cell) => cell.trim())
    const names = [...`${writers} ${readers}`.matchAll(/`(\w+)`/g)].map(([, name]) => name)
    return names.filter((name) => !Object.hasOwn(entries[entry.replaceAll('`', '')] ?? {}, name))
  })
  expect(rows.length).toBeGreaterThan(8)
  expect(missing).toEqual([])
})
