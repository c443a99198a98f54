import { perceptual, pNorm, replayable, type Distance, type GreyRange } from '../diffusion/index.ts'
import type { Checkpoint } from '../io/index.ts'
import {
  featureNetConfigOf,
  featureNetMemoryOf,
  loadFeatureNet,
  loadLpips,
  lpipsMemoryOf,
  type LoadOptions,
} from '../nn/index.ts'
import { lpipsNetOf } from '../nn/lpips-plan.ts'
import type { Device, DeviceNeed, Tensor } from '../tensor/index.ts'

/** The p of a norm `lP`, 1 or more; undefined for another word. */
export function normIn(distance: string): number | undefined {
  const [, p] = /^l(\d+(?:\.\d+)?|inf)$/.exec(distance) ?? []
  const norm = p === undefined ? undefined : p === 'inf' ? Infinity : Number(p)
  return norm !== undefined && norm >= 1 ? norm : undefined
}

/** How far images are apart, for self-guidance and minority scores, with its net on the device. */
export interface LoadedDistance {
  /** The same for self-guidance and for minority scores. */
  readonly distance: Distance
  /** For people: "LPIPS (alex)". */
  readonly name: string
  /** Frees the net; a norm has none. */
  dispose(): void
}

/** A norm, LPIPS or a feature net of our own, before a device is asked for. */
export interface OpenDistance {
  /** What it will need for `images`: nothing for a norm. Refuses images too small for the net. */
  needs(images: Parameters<typeof lpipsMemoryOf>[1]): (DeviceNeed & { readonly weights: number })[]
  /** Loads the net, or takes a norm. */
  load(device: Device, options?: LoadOptions): Promise<LoadedDistance>
  /** The file of its net. */
  readonly checkpoint: Checkpoint | null
  /** What it is in options of the command line, but for the file; null: a function, for which there is none. */
  readonly options: Readonly<Record<string, string>> | null
}

/** ||a - b||_p, `p` being 1 or more. */
export const openNorm = (p: number): OpenDistance => ({
  needs: () => [],
  load: async () => ({ distance: pNorm(p), name: `L${p === Infinity ? 'inf' : p}`, dispose: () => {} }),
  checkpoint: null,
  options: { distance: `l${p === Infinity ? 'inf' : p}` },
})

/** The net in `checkpoint`, which stays the caller's to close. `greyRange`: null for colour. */
export function openNet(kind: 'lpips' | 'features', checkpoint: Checkpoint, greyRange: GreyRange | null): OpenDistance {
  const seen = (distance: Distance): Distance => perceptual(distance, greyRange ? { greyRange } : {})
  const range = greyRange === '0..1' ? ', grey 0..1' : ''
  const options = { distance: kind, ...(greyRange && { 'grey-range': greyRange }) }
  return kind === 'lpips'
    ? {
        needs: (images) => [lpipsMemoryOf(lpipsNetOf(checkpoint.tensors.keys(), checkpoint.name), images)],
        load: async (device, options) => {
          const net = await loadLpips(device, checkpoint, options)
          return {
            distance: seen(replayable((a: Tensor, b: Tensor) => net.distance(a, b))),
            name: `LPIPS (${net.net})${range}`,
            dispose: () => net.dispose(),
          }
        },
        checkpoint,
        options,
      }
    : {
        needs: (images) => [featureNetMemoryOf(featureNetConfigOf(checkpoint), images)],
        load: async (device, options) => {
          const net = await loadFeatureNet(device, checkpoint, options)
          return {
            distance: seen(replayable((a: Tensor, b: Tensor) => net.distance(a, b))),
            name: `features${range}`,
            dispose: () => net.dispose(),
          }
        },
        checkpoint,
        options,
      }
}
