/**
 * A kernel of the user's in the place of one of ours: run on odd and even sizes first, over an output of NaN, and held
 * against sums in double precision at every element; then it is a row beside ours.
 *
 * The contract: entry point `main`; group 0 has at binding 0 a uniform, which need not be declared, then the inputs of
 * the case as `array<f32>`, `read`, then the output, `read_write` (`cases.ts`, and for people bench/README.md). The
 * uniform has the sizes as i32 in the order of {@link kernelKinds}; of convolutions it is
 *
 *     struct Params { n: i32, cin: i32, h: i32, w: i32, cout: i32, ho: i32, wo: i32, kh: i32, kw: i32,
 *                     stride: i32, padY: i32, padX: i32, wOut: i32, wIn: i32, wTap0: i32, wTapStep: i32 }
 *
 * of which ho = h and wo = w, stride 1. A tensor's buffer may be longer than its elements.
 */
import { TweedieError } from '../errors.ts'
import type { Device, Tensor } from '../tensor/index.ts'
import { arithmetic } from './arithmetic.ts'
import { kernelKinds, type KernelCase } from './cases.ts'

/** What a kernel can stand for. */
export const ownKinds = Object.keys(kernelKinds)

/** A kernel of the user's. */
export interface OwnKernel {
  /** As rows call it. */
  readonly name: string
  readonly wgsl: string
  /** Of {@link ownKinds}. */
  readonly as: string
  /** Workgroups along x, y and z, for the sizes of a case. */
  readonly grid: (sizes: KernelCase['sizes']) => readonly number[]
}

/** Enqueues it. `into`: the tensor that is written, else a new one. */
export function runOwn(
  device: Device,
  { name, wgsl, grid }: OwnKernel,
  { sizes, uniforms, output }: KernelCase,
  inputs: readonly Tensor[],
  into?: Tensor,
): Tensor {
  const words = Int32Array.from(uniforms)
  const options = { name, wgsl, inputs, outputs: [into ?? output], workgroups: grid(sizes), uniforms: words }
  return device.kernel(options)[0] as Tensor
}

/**
 * Throws for a kernel that computes something else.
 * @throws TweedieError 'option' with the first element that differs, or that nobody wrote, or with the line that does
 *   not compile; 'unsupported' on the CPU backend
 */
export async function checkOwn(device: Device, kernel: OwnKernel, signal?: AbortSignal): Promise<void> {
  const { checked, at } = kernelKinds[kernel.as]
  for (const numbers of checked) {
    signal?.throwIfAborted()
    const one = at(numbers)
    const found = await readOwn(device, kernel, one)
    for (const [i, value] of found.entries()) {
      const want = one.exact(i)
      if (Math.abs(value - want.value) <= 2 * one.tolerance * want.scale + 1e-30) continue
      throw new TweedieError(
        'option',
        `${kernel.name}: for ${Object.entries(one.sizes)
          .map(([name, n]) => `${name} ${n}`)
          .join(', ')}, element [${placeOf(i, one.output)}] of [${one.output.join(', ')}] is ` +
          `${Number.isNaN(value) ? 'not written, or NaN' : value}, expected ${want.value.toPrecision(8)}.`,
      )
    }
  }
}

const placeOf = (index: number, shape: readonly number[]): string =>
  shape.map((length, i) => Math.floor(index / shape.slice(i + 1).reduce((a, b) => a * b, 1)) % length).join(', ')

/** Its result over NaN. What does not compile is the user's, and no defect of ours. */
async function readOwn(device: Device, kernel: OwnKernel, one: KernelCase): Promise<Float32Array> {
  const inputs = one.inputs.map(({ data, shape }) => device.tensor(data, shape))
  const count = one.output.reduce((a, b) => a * b, 1)
  using y = device.tensor(new Float32Array(count).fill(Number.NaN), one.output)
  try {
    runOwn(device, kernel, one, inputs, y)
    return await y.read()
  } catch (error) {
    if (!(error instanceof TweedieError) || error.code !== 'shader-compile') throw error
    throw new TweedieError('option', error.message, { cause: error })
  } finally {
    for (const t of inputs) t.dispose()
  }
}

/**
 * A grid from text, as in `ceil(px/64),ceil(cout/64),1`: one to three terms of numbers, + - * / and brackets, `ceil`,
 * `floor`, `min`, `max`, and the sizes of what `as` is; where there are n, h and w, also px = n h w.
 * @throws TweedieError 'option' for anything else
 */
export function gridOf(text: string, as: string): OwnKernel['grid'] {
  const { sizes } = kernelKinds[as]
  const names = sizes.includes('w') ? [...sizes, 'px'] : sizes
  const fail = (found: string): never => {
    throw new TweedieError(
      'option',
      `A grid is one to three terms of ${names.join(', ')}, numbers, + - * /, ceil, floor, min and max, as in ` +
        `ceil(${names.at(-1)}/64),1; found ${found} in "${text}".`,
    )
  }
  const terms = arithmetic(text, names, fail)
  if (terms.length > 3) fail(`${terms.length} terms`)
  return (values) => terms.map((term) => term({ ...values, px: values.n * values.h * values.w }))
}
