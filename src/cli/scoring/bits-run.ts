/** The nll.json of a folder: bits per dimension image by image, and the sums of their terms, so that a job goes on. */
import { readFile } from 'node:fs/promises'
import type { BitsPerDim } from '../../diffusion/index.ts'
import { TweedieError } from '../../errors.ts'
import { writeText } from '../../io/file.node.ts'
import { aCount, aNumber, fieldsOf, jsonText, listOf, oneOf, parseJson } from '../../io/json.ts'
import type { DiffusionProcess } from '../../nn/index.ts'
import { fail } from '../arguments.ts'

/** What the figures depend on. */
export interface BitsHead {
  readonly program: 'tweedie'
  readonly kind: 'bits-per-dimension'
  readonly data: string
  readonly fingerprint: string
  /** SHA-256. */
  readonly model: string
  readonly process: DiffusionProcess & { readonly respacing: string }
  readonly clipDenoised: boolean
  readonly seed: number
  readonly steps: number
  /** How many, from end to end of the set. */
  readonly images: number
  /** What a class-conditional model was told of each. */
  readonly classes?: readonly number[]
  readonly leftOut?: readonly string[]
}

/** Names of the terms, as image_nll.py has them. */
const names = ['vb', 'mse', 'xstart_mse'] as const
type Terms = Record<(typeof names)[number], number[]>

/** What is found so far. */
interface Found {
  /** Of each image that is done: the bound, and of it what x_T costs. */
  totalBpd: number[]
  priorBpd: number[]
  /** Sums over the images, by step; step 0 first. When all are done, means. */
  terms: Terms
}

const termsOf = (value: (name: keyof Terms) => number[]): Terms =>
  Object.fromEntries(names.map((name) => [name, value(name)])) as Terms

const isFound = fieldsOf({
  status: oneOf('unfinished', 'done'),
  steps: aCount,
  totalBpd: listOf(aNumber),
  priorBpd: listOf(aNumber),
  terms: fieldsOf(Object.fromEntries(names.map((name) => [name, listOf(aNumber)]))),
})

/** What the text of an nll.json holds of the run; throws 'option' for that of another. */
export function bitsIn(text: string, path: string, head: BitsHead): Found & { readonly whole: boolean } {
  const what = 'bits per dimension of tweedie'
  const { status, mean, standardError, totalBpd, priorBpd, terms, ...old } = parseJson<
    BitsHead & Found & { status: string; mean?: number; standardError?: number }
  >(text, path, what, isFound)
  // Where the data lie is not what they are.
  const same = ({ data: _, ...rest }: BitsHead): string => JSON.stringify(rest)
  if (same(old) !== same(head))
    fail(`${path} holds ${what}, of another model, data set or other settings: choose another --out, or delete it.`)
  const lengths = names.map((name) => terms[name].length)
  if (lengths.some((n) => n !== head.steps) || totalBpd.length > head.images || priorBpd.length !== totalBpd.length)
    throw new TweedieError('format', `${path}: expected ${what} in ${head.steps} steps, found other numbers of them.`)
  return { totalBpd, priorBpd, terms, whole: status === 'done' }
}

/** Milliseconds between two writes. */
const pause = 10_000

/** A run of `nll`. Disposal saves what is done. */
export class BitsRun implements AsyncDisposable {
  readonly #path: string
  readonly #head: BitsHead
  readonly #found: Found
  #whole: boolean
  #saved: number
  #last = performance.now()

  private constructor(path: string, head: BitsHead, found: Found, whole: boolean) {
    this.#path = path
    this.#head = head
    this.#found = found
    this.#whole = whole
    this.#saved = found.totalBpd.length
  }

  /** What is at `path` of the same run; throws 'option' for that of another. */
  static async open(path: string, head: BitsHead): Promise<BitsRun> {
    const zeros = (): number[] => new Array<number>(head.steps).fill(0)
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? null : Promise.reject(error),
    )
    if (text === null) return new BitsRun(path, head, { totalBpd: [], priorBpd: [], terms: termsOf(zeros) }, false)
    const { whole, ...found } = bitsIn(text, path, head)
    return new BitsRun(path, head, found, whole)
  }

  /** How many images are done. */
  get done(): number {
    return this.#found.totalBpd.length
  }

  /** Adds those of a batch. Image by image: the sums do not depend on the batch. */
  async add({ totalBpd, priorBpd, vb, mse, xStartMse }: BitsPerDim): Promise<void> {
    const broken = totalBpd.find((value) => !Number.isFinite(value))
    if (broken !== undefined)
      throw new TweedieError(
        'non-finite',
        `The bits per dimension are ${broken}: the weights are damaged, or they are of another network or schedule.`,
      )
    const { terms } = this.#found
    this.#found.totalBpd.push(...totalBpd)
    this.#found.priorBpd.push(...priorBpd)
    for (const [name, values] of [
      ['vb', vb],
      ['mse', mse],
      ['xstart_mse', xStartMse],
    ] as const)
      values.forEach((each, t) => each.forEach((value) => (terms[name][t] += value)))
    if (performance.now() - this.#last > pause) await this.#save()
  }

  /** Marks the run as done: mean and standard error (null of one image), and the mean terms by step. */
  async finish(): Promise<{ mean: number; standardError: number | null; terms: Terms }> {
    const { totalBpd, priorBpd, terms } = this.#found
    const n = totalBpd.length
    const means = this.#whole ? terms : termsOf((name) => terms[name].map((sum) => sum / n))
    const mean = totalBpd.reduce((a, b) => a + b, 0) / n
    const square = totalBpd.reduce((sum, value) => sum + (value - mean) ** 2, 0)
    const standardError = n > 1 ? Math.sqrt(square / (n - 1) / n) : null
    if (!this.#whole) {
      this.#whole = true
      this.#found.terms = means
      await this.#write({
        ...this.#head,
        status: 'done',
        mean,
        ...(standardError !== null && { standardError }),
        totalBpd,
        priorBpd,
        terms: means,
      })
    }
    return { mean, standardError, terms: means }
  }

  async #save(): Promise<void> {
    await this.#write({ ...this.#head, status: 'unfinished', ...this.#found })
    this.#saved = this.done
    this.#last = performance.now()
  }

  #write(value: object): Promise<void> {
    return writeText(this.#path, `${jsonText(value, this.#path, 1)}\n`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.done > this.#saved) await this.#save().catch(() => {})
  }
}
