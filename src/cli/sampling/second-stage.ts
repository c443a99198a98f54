/** A second stage alone: large pictures of the small ones of a set. */
import { imageBatch, imagesOf, type ImageSet } from '../../data/index.ts'
import { labelsOf } from '../../tweedie/labels.ts'
import { stepNeed, together } from '../../tweedie/need.ts'
import type { ModelConfig } from '../../nn/index.ts'
import { computedOn } from '../options/device.ts'
import { secondStageOptions, type SecondStageSettings } from '../options/second-stage.ts'
import type { Session } from '../session.ts'
import { upsamplerDepartures } from './departures.ts'
import type { Drawer } from './draw.ts'
import { runFiles } from './run-files.ts'
import { measureUpsampler } from './tune.ts'
import { openUpsampler, upsample } from './upsample.ts'
import { tell } from '../print.ts'

/**
 * Asks for a device and loads the upsampler. `published`: which published one it is; `config`: its network, to which
 * the settings were fitted.
 */
export async function secondStage(
  settings: SecondStageSettings,
  set: ImageSet,
  { config, published }: { readonly config: ModelConfig; readonly published: string | null },
  { signal, requestDevice }: Session,
): Promise<Drawer & Disposable> {
  const { batch, side, labels, seed, clipDenoised, upsampler: used } = settings
  const options = secondStageOptions(settings)
  const files = runFiles(options, signal)
  files.keep('base-samples', set.fingerprint, set.leftOut)
  const held: { dispose(): void }[] = []
  const dispose = (): void => held.reverse().forEach((thing) => thing.dispose())
  const hold = <T extends { dispose(): void }>(thing: T): T => {
    held.push(thing)
    return thing
  }
  try {
    const opened = await openUpsampler(used, config, { batch, size: [side, side] }, files)
    const sha256 = await files.sha256()
    const start = performance.now()
    const need = together([opened.need, stepNeed(0, batch, opened.shape)])
    const device = hold(await requestDevice({ need, signal }))
    tell(`Computing on ${computedOn(device)}`)
    const upsampler = await opened.load(device, hold, signal)
    const channels = config.inChannels as 1 | 3
    const small = [channels, side, side]
    return {
      device,
      options,
      differs: upsamplerDepartures(used, published),
      sha256,
      leftOut: files.leftOut,
      seconds: (performance.now() - start) / 1000,
      shape: upsampler.shape,
      small,
      labels,
      what: 'second stage',
      tune: (stop) => measureUpsampler(device, upsampler, [batch, ...small], stop),
      async batch(samples, label, stop) {
        const begin = performance.now()
        const indices = samples.map((k) => k % set.length)
        const { images: base } = await imageBatch(set, indices, { size: side, channels }, stop)
        const sample = await upsample(upsampler, base, [samples.length, ...small], {
          samples,
          y: labelsOf(labels, samples),
          seed,
          clipDenoised,
          label,
          signal: stop,
        })
        const seconds = (performance.now() - begin) / 1000
        return {
          sample,
          base,
          // A value of a byte may lie below it by rounding, and would be truncated: half a level more does not.
          baseImages: imagesOf(
            base.map((value) => value + 1 / 255),
            [samples.length, ...small],
          ),
          first: null,
          middle: null,
          scores: null,
          metric: null,
          targets: samples.map(() => ({})),
          timing: { samples: samples.length, seconds: 0, firstStep: 0, upsampling: seconds, scoring: 0 },
        }
      },
      [Symbol.dispose]: dispose,
    }
  } catch (error) {
    dispose()
    throw error
  } finally {
    await files.close()
  }
}
