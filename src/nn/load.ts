import { checkAwaited, TweedieError } from '../errors.ts'
import type { Device, Shape, Tensor } from '../tensor/index.ts'
import { checkStateDict, shapesOf } from './state-dict.ts'

/** What loading needs of a checkpoint; `Checkpoint` of the io room is one. */
export interface WeightSource {
  /** What errors call it: a path, a URL. */
  readonly name: string
  /** By name. */
  readonly tensors: ReadonlyMap<string, WeightEntry>
}

/** A tensor of a file, not yet read. */
export interface WeightEntry {
  readonly shape: Shape
  /** In the file. */
  readonly byteLength: number
  /** The elements in row-major order; floats of any width as f32. */
  read(signal?: AbortSignal): Promise<ArrayBufferView>
}

/** How a loading is watched and stopped. */
export interface LoadOptions {
  /** Aborts between tensors and within reads: rejects with its reason, nothing stays on the device. */
  readonly signal?: AbortSignal
  /** Called with 0 at the start and after every tensor: bytes of the file read so far, and all of them. */
  readonly onProgress?: (done: number, total: number) => void
}

/** A write's bytes stay on the host until the device has taken them: wait for it whenever this many have gathered. */
const maxPendingBytes = 2 ** 26

/**
 * Reads the tensors named in `expected` onto the device, under their names and in that order. They belong to the
 * caller.
 *
 * Names and shapes are compared first, then tensors are read one by one, looked through for NaN and infinity while they
 * are still on the host, and written. The host never holds more than a few of them, and whatever goes wrong in between
 * (an abort, a broken file, no memory) leaves nothing on the device.
 *
 * @throws TweedieError 'weights' for missing, unexpected or misshapen tensors, all listed (see {@link checkStateDict}),
 *   and for integers where weights belong; 'non-finite' naming the tensor that holds NaN or infinity
 * @example
 * const parameters = await loadParameters(device, checkpoint, stateDictOf(planOf(config)))
 */
export async function loadParameters(
  device: Device,
  source: WeightSource,
  expected: ReadonlyMap<string, Shape>,
  { signal, onProgress }: LoadOptions = {},
): Promise<Map<string, Tensor>> {
  checkAwaited('loadParameters', { device, checkpoint: source })
  checkStateDict(expected, shapesOf(source), source.name)
  const total = [...expected.keys()].reduce((sum, key) => sum + source.tensors.get(key)!.byteLength, 0)
  const parameters = new Map<string, Tensor>()
  let done = 0
  let pending = 0
  try {
    onProgress?.(done, total)
    for (const [key, shape] of expected) {
      signal?.throwIfAborted()
      const entry = source.tensors.get(key)!
      const values = checkWeights(await entry.read(signal), `${source.name}: ${key}`)
      parameters.set(key, device.tensor(values, shape))
      pending += values.byteLength
      if (pending >= maxPendingBytes) {
        await device.flush()
        pending = 0
      }
      done += entry.byteLength
      onProgress?.(done, total)
    }
    // Memory that the device did not have shows here, and not in the first step.
    await device.flush()
    signal?.throwIfAborted()
    return parameters
  } catch (error) {
    for (const tensor of parameters.values()) tensor.dispose()
    throw error
  }
}

/**
 * Finite floats, or an error that begins with `where`.
 * @throws TweedieError 'weights' for integers, 'non-finite' for NaN or infinity
 */
export function checkWeights(values: ArrayBufferView, where: string): Float32Array {
  if (!(values instanceof Float32Array)) {
    throw new TweedieError('weights', `${where}: expected floating-point weights, found integers`)
  }
  return finiteValues(values, where, 'weights', 'the file is damaged, or its training diverged')
}

/**
 * The values of a tensor of a file, all of them finite. `where` is what the error begins with, `why` how it ends.
 * @throws TweedieError 'non-finite' for NaN or infinity, naming the element
 */
export function finiteValues(
  values: Float32Array,
  where: string,
  what = 'numbers',
  why = 'the file is damaged',
): Float32Array {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) {
      throw new TweedieError(
        'non-finite',
        `${where}: expected finite ${what}, found ${values[i]} at element ${i} of ${values.length}: ${why}`,
      )
    }
  }
  return values
}
