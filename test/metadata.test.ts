/** What files of models say of themselves: read as it was written. */
import { describe, expect, test } from 'vitest'
import {
  classifierMetadata, encodeClassifierMetadata, encodeMinorityMetadata, minorityMetadata, type MinorityMetadata,
} from '../src/diffusion/index.ts'

describe('a minority classifier', () => {
  const all: MinorityMetadata = {
    levels: 3, thresholds: [0.5, 0.7, 0.9], within: 'all', schedule: 'cosine', diffusionSteps: 1000, rescaleTimesteps: false, extractor: null,
  }

  test('says its levels, thresholds, process and extractor', () => {
    const within: MinorityMetadata = {
      ...all, thresholds: [[1, 2, 3], [], [1, 2]], within: 'class', schedule: 'linear', rescaleTimesteps: true, extractor: { sha256: 'a'.repeat(64), name: '64x64_classifier.safetensors' },
    }
    for (const metadata of [all, within]) expect(minorityMetadata(encodeMinorityMetadata(metadata), 'm')).toEqual(metadata)
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
