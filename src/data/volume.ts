/**
 * NIfTI volumes, of which the slices across the third axis (axial ones, as scanners store the head) are images: each is
 * normalised by itself, its least value black and its largest white, as is done with slices of MRI, whose units mean
 * nothing. Format: nifti1.h and nifti2.h (NIfTI Data Format Working Group), single files of numbers, `.nii`.
 */
import { TweedieError } from '../errors.ts'
import type { Image } from './image.ts'

/** What the header of a volume says. */
export interface VolumeHeader {
  readonly width: number
  readonly height: number
  readonly slices: number
  /** Where the values begin, and how one is read. */
  readonly offset: number
  readonly bytes: number
  read(view: DataView, at: number): number
}

/** As much as a header takes, of either version. */
export const headerBytes = 544

const types: Readonly<Record<number, readonly [bytes: number, (v: DataView, at: number, little: boolean) => number]>> =
  {
    2: [1, (v, at) => v.getUint8(at)],
    4: [2, (v, at, little) => v.getInt16(at, little)],
    8: [4, (v, at, little) => v.getInt32(at, little)],
    16: [4, (v, at, little) => v.getFloat32(at, little)],
    64: [8, (v, at, little) => v.getFloat64(at, little)],
    256: [1, (v, at) => v.getInt8(at)],
    512: [2, (v, at, little) => v.getUint16(at, little)],
    768: [4, (v, at, little) => v.getUint32(at, little)],
  }

/** A volume of the finest scanners; what is larger is a series, or no header. */
const mostVoxels = 2 ** 28

/** Reads a header, from the first {@link headerBytes} bytes of a file. Throws 'format', naming `name`. */
export function volumeHeader(bytes: Uint8Array, name: string): VolumeHeader {
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${name}: ${message}`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 352) wrong('a damaged NIfTI volume: its header is cut short.')
  const little = [348, 540].includes(view.getInt32(0, true))
  const size = view.getInt32(0, little)
  const second = size === 540
  const magic = String.fromCharCode(...bytes.subarray(second ? 4 : 344, second ? 7 : 347))
  if ((size !== 348 && !second) || bytes.length < size) wrong('no NIfTI volume, whatever its name says.')
  if (magic === 'ni1' || magic === 'ni2')
    wrong('the header of a NIfTI volume whose values lie in another file (.img): convert it to .nii.')
  if (magic !== (second ? 'n+2' : 'n+1')) wrong('no NIfTI volume, whatever its name says.')
  const dimension = (i: number): number =>
    second ? Number(view.getBigInt64(16 + 8 * i, little)) : view.getInt16(40 + 2 * i, little)
  const rank = dimension(0)
  const [width, height, slices, ...more] = Array.from({ length: 7 }, (_, i) => (i < rank ? dimension(i + 1) : 1))
  if (!(rank >= 3 && rank <= 7) || [width, height, slices, ...more].some((n) => !(n >= 1 && n < 2 ** 31)))
    wrong('a damaged NIfTI volume: expected three dimensions of 1 or more.')
  if (more.some((n) => n > 1)) wrong('a series of volumes, expected one: split it, one file a volume.')
  if (width * height * slices > mostVoxels)
    wrong(`a volume of ${width} x ${height} x ${slices}, of which at most ${mostVoxels / 2 ** 20} million are read.`)
  const code = view.getInt16(second ? 12 : 70, little)
  const [each, value] = types[code] ?? wrong(`values of NIfTI's type ${code}, expected whole numbers or floats.`)
  const offset = second ? Number(view.getBigInt64(168, little)) : view.getFloat32(108, little)
  if (!(Number.isSafeInteger(offset) && offset >= size)) wrong('a damaged NIfTI volume: its values begin nowhere.')
  return { width, height, slices, offset, bytes: each, read: (v, at) => value(v, at, little) }
}

/**
 * Slice number `k` of a volume as a grey image: (value - least) / (largest - least) of this slice, times 255, rounded;
 * black where all are alike. What is no number is black, too. Its rows are those of the file.
 */
export function sliceOf(
  { width, height, slices, offset, bytes, read }: VolumeHeader,
  file: Uint8Array,
  k: number,
  name: string,
): Image {
  if (file.length < offset + width * height * slices * bytes)
    throw new TweedieError('format', `${name}: a damaged NIfTI volume: its values are cut short.`)
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const area = width * height
  const values = Float64Array.from({ length: area }, (_, i) => read(view, offset + (k * area + i) * bytes))
  let [least, largest] = [Infinity, -Infinity]
  for (const value of values) {
    if (!Number.isFinite(value)) continue
    least = Math.min(least, value)
    largest = Math.max(largest, value)
  }
  const scale = largest > least ? 255 / (largest - least) : 0
  const data = Uint8Array.from(values, (value) => (Number.isFinite(value) ? Math.round((value - least) * scale) : 0))
  return { width, height, channels: 1, data }
}
