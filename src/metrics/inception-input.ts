/**
 * Pictures as the Inception of FID takes them. Three programs resize and normalise in three ways, and the distances of
 * one are not those of another: Parmar et al. (CVPR 2022, "On Aliased Resizing") measured differences that exceed those
 * between methods.
 */
import { resizeFloats, sampleLinear, type Image } from '../data/index.ts'
import { INCEPTION_SIZE } from '../nn/inception-plan.ts'
import { refuseOther } from '../refuse.ts'

interface Convention {
  /** In words, for tables. */
  readonly preprocessing: string
  /** Floats between bytes, channels interleaved. */
  readonly resize: (image: Image, size: number) => Float32Array<ArrayBuffer>
  /** A float between bytes to what the network takes. */
  readonly value: (v: number) => number
}

const conventions = {
  clean: {
    preprocessing: 'clean-fid: bicubic on floats to 299 x 299, clipped, (v - 128) / 128',
    resize: (image, size) => resizeFloats(image, size, size, 'bicubic'),
    value: (v) => (Math.max(0, Math.min(255, v)) - 128) / 128,
  },
  legacy_pytorch: {
    preprocessing: 'pytorch-fid: bilinear without antialiasing to 299 x 299, 2 v / 255 - 1',
    resize: (image, size) => sampleLinear(image, size, size, { halfPixel: true }),
    value: (v) => (2 * v) / 255 - 1,
  },
  legacy_tensorflow: {
    preprocessing: 'TensorFlow 1: bilinear without half pixels to 299 x 299, (v - 128) / 128',
    resize: (image, size) => sampleLinear(image, size, size, { halfPixel: false }),
    value: (v) => (v - 128) / 128,
  },
} satisfies Record<string, Convention>

/**
 * How pictures become the input of Inception: `clean` as clean-fid does it, which is the one to use; `legacy_pytorch`
 * as pytorch-fid, and `legacy_tensorflow` as the TensorFlow graph of guided-diffusion's evaluator, to compare with
 * numbers that were published so.
 */
export type InceptionInput = keyof typeof conventions

/** The names of {@link InceptionInput}. */
export const inceptionInputs = Object.keys(conventions) as readonly InceptionInput[]

/** What a convention does to a picture, in words, for tables. */
export function inceptionPreprocessing(input: InceptionInput): string {
  refuseOther('Inception: the input', input, inceptionInputs)
  return conventions[input].preprocessing
}

/**
 * The values [3, 299, 299] of a picture of any size, grey ones as three equal channels. The aspect ratio is not kept.
 *
 * @throws TweedieError 'option' for what is no image, and for a convention that is none
 */
export function inceptionInput(image: Image, input: InceptionInput = 'clean'): Float32Array<ArrayBuffer> {
  refuseOther('Inception: the input', input, inceptionInputs)
  const { resize, value } = conventions[input]
  const floats = resize(image, INCEPTION_SIZE)
  const { channels } = image
  const area = INCEPTION_SIZE ** 2
  const out = new Float32Array(3 * area)
  for (let c = 0; c < 3; c++) {
    const from = channels === 3 ? c : 0
    for (let i = 0; i < area; i++) out[c * area + i] = value(floats[i * channels + from])
  }
  return out
}
