import { memoryBudget as usualBudget } from '#platform'
import { named, TweedieError } from '../errors.ts'
import { Device, type DeviceNeed } from '../tensor/index.ts'
import { fail, wholeOf } from './fail.ts'
import type { TweedieOptions } from './load.ts'

/** What files take, before a byte of weights is read. */
export interface FileMemory {
  /** On the host, at most, while they are read. */
  readonly host: number
  /** On the device, as floats of 32 bits. */
  readonly weights: number
}

/**
 * What copies of the weights take that the CPU backend keeps in the orders of its kernels: six times the weights of the
 * shipped set, of which Winograd's transform of 3 x 3 to 6 x 6 is four, and never more than a quarter of 4 GiB.
 */
const packed = (weights: number): number => Math.min(6 * weights, 2 ** 30)

/** The caller's device, or one that holds as large a batch as there is room for, up to 8. */
export async function deviceFor(
  options: TweedieOptions,
  files: FileMemory,
  needOf: (batch: number, guided: boolean) => DeviceNeed,
): Promise<{ device: Device; batch: number }> {
  const { device: given, batch, backend, memoryBudget = usualBudget() } = options
  if (batch !== undefined) wholeOf('batch', batch)
  if (!(typeof memoryBudget === 'number' && memoryBudget > 0))
    fail(`memoryBudget: expected a number of bytes, found ${named(memoryBudget)}.`)
  // Where not even one image can be guided, it may still be drawn.
  const tries =
    batch === undefined
      ? ([
          [8, true],
          [4, true],
          [2, true],
          [1, true],
          [1, false],
        ] as const)
      : ([
          [batch, true],
          [batch, false],
        ] as const)
  let refused: unknown
  for (const [count, guided] of tries) {
    const need = needOf(count, guided)
    try {
      checkBudget(memoryBudget, count, need, files, given?.backend.kind ?? backend)
      const device = given ?? (await Device.request({ ...requestOf(options), need }))
      try {
        checkBudget(memoryBudget, count, need, files, device.backend.kind)
      } catch (error) {
        if (!given) device.dispose()
        throw error
      }
      return { device, batch: count }
    } catch (error) {
      if (!(error instanceof TweedieError) || (error.code !== 'limit-exceeded' && error.code !== 'out-of-memory'))
        throw error
      refused = error
    }
  }
  throw refused
}

function requestOf({ backend, threads, workerUrl, simd, gpuDevice, signal }: TweedieOptions) {
  return {
    ...(backend && { backend }),
    ...(threads !== undefined && { threads }),
    ...(workerUrl !== undefined && { workerUrl }),
    ...(simd && { simd }),
    ...(gpuDevice && { gpuDevice }),
    ...(signal && { signal }),
  }
}

/** Before there is a device its kind may be unknown; what is too much for any is refused without one. */
function checkBudget(
  budget: number,
  batch: number,
  { bytes }: DeviceNeed,
  { host, weights }: FileMemory,
  kind: TweedieOptions['backend'],
): void {
  const copies = kind === 'cpu' ? packed(weights) : 0
  const all = bytes + host + copies
  if (all <= budget) return
  const mebibytes = (n: number): string => `${Math.ceil(n / 2 ** 20)} MiB`
  throw new TweedieError(
    'out-of-memory',
    `The model takes ${mebibytes(all)} for ${batch === 1 ? 'a picture' : `${batch} pictures`} at a time ` +
      `(${mebibytes(bytes + copies)} to compute, ${mebibytes(host)} while its files are read), and ` +
      `${mebibytes(budget)} are what it may take: load a smaller model, or say { memoryBudget: BYTES } where there ` +
      'is more. A phone ends a page that takes too much.',
  )
}
