/**
 * What the samplers and scores run: a network, or a function in its place. A network is given its class labels here and
 * nowhere else.
 */
import { named, TweedieError } from '../../errors.ts'
import { Tensor, type Shape } from '../../tensor/index.ts'
import type { Replayable } from './replayable.ts'

/** What can make all that depends on the time alone for a whole walk at once: see `UNet.remember`. */
export interface Remembering {
  readonly remember?: (timesteps: readonly number[], y?: ArrayLike<number>) => Disposable
}

/**
 * The network as the process sees it: x [N, C, H, W] and what it is to be told of the time, one number a sample; `y`,
 * one class a sample, where labels are given.
 */
export type Denoiser = ((x: Tensor, timesteps: readonly number[], y?: readonly number[]) => Tensor) &
  Replayable &
  Remembering

/** A network that gives as many images as it takes: `UNet` is one. */
export interface DenoisingModel extends Replayable, Remembering {
  forward(x: Tensor, timesteps: readonly number[], inputs?: { readonly y?: ArrayLike<number> }): Tensor
}

/** What every function here takes that runs a network: `model` itself, or `(x, timesteps) => …`. */
export type DenoiserLike = Denoiser | DenoisingModel

/**
 * The function that runs `model`, with the class labels `y` of the batch where the network is class-conditional.
 * @throws TweedieError 'option' for what is neither a function nor a U-Net
 */
export function denoiserOf(model: DenoiserLike, y?: ArrayLike<number>): Denoiser {
  const labels = y === undefined ? undefined : labelsIn(y)
  if (typeof model === 'function') return labels ? (x, timesteps) => model(x, timesteps, labels) : model
  checkNetwork(model, 'unet', 'A denoiser is a U-Net, or a function of x and timesteps')
  const { config } = model as { readonly config?: { readonly superResolution?: boolean } }
  if (config?.superResolution)
    throw new TweedieError(
      'option',
      'A super-resolution U-Net takes a small picture beside the noise: ' +
        'superResolutionDenoiser(model, lowRes) is its denoiser.',
    )
  return (x, timesteps) => model.forward(x, timesteps, labels ? { y: labels } : {})
}

function labelsIn(y: ArrayLike<number>): readonly number[] {
  const given: unknown = y
  if (typeof given === 'object' && given !== null && 'length' in given) return Array.from(y)
  throw new TweedieError(
    'option',
    `y is a list with one class for each sample of the batch, as in y: [3, 3, 8, 8], found ${named(given)}.`,
  )
}

const called = { unet: 'U-Net', classifier: 'classifier' } as const

/**
 * Refuses what is no network, or one of the other kind. `expected` begins the message.
 * @throws TweedieError 'option'
 */
export function checkNetwork(model: unknown, kind: keyof typeof called, expected: string): void {
  const fail = (found: string): never => {
    throw new TweedieError('option', `${expected}; found ${found}`)
  }
  if (model instanceof Promise) fail('a promise: await loadModel(…).')
  const { forward, kind: found } = (model ?? {}) as { readonly forward?: unknown; readonly kind?: unknown }
  if (typeof forward !== 'function') fail(`${named(model)}.`)
  if (typeof found === 'string' && found in called && found !== kind) fail(`a ${called[found as keyof typeof called]}.`)
}

/**
 * What a function of the caller gave, which is to be a tensor of `shape`: a tensor of another would be broadcast, and
 * what is no tensor would fail far from here. `who` begins the message.
 * @throws TweedieError 'shape' for another shape, 'option' for no tensor
 */
export function givenTensor(who: string, given: unknown, shape: Shape): Tensor {
  if (!(given instanceof Tensor)) throw noTensor(who, given)
  if (given.shape.length !== shape.length || given.shape.some((n, i) => n !== shape[i])) {
    throw new TweedieError('shape', `${who} gives a tensor [${shape.join(', ')}], found [${given.shape.join(', ')}].`)
  }
  return given
}

/** The error about what should be a tensor. */
export function noTensor(who: string, given: unknown): TweedieError {
  if (given instanceof Promise) {
    given.catch(() => {})
    return new TweedieError(
      'option',
      `${who} gives a tensor at once, since what it computes is only enqueued; found a promise: it must ` +
        'not be an async function.',
    )
  }
  return new TweedieError('option', `${who} gives a tensor, found ${named(given)}.`)
}
