/** The logits that a classifier of noisy images gives, as guidances and the training of classifiers take them. */
import { TweedieError } from '../../errors.ts'
import { levelChannels } from '../../nn/config.ts'
import type { Classifier } from '../../nn/index.ts'
import { refuseUnknown } from '../../refuse.ts'
import { Tensor, type Live } from '../../tensor/index.ts'
import { checkNetwork, noTensor } from '../process/denoiser.ts'
import { replayable, type Replayable } from '../process/replayable.ts'

/** A classifier of noisy images x [N, C, H, W], told the same timesteps as the network: logits [N, K]. */
export type Logits = ((x: Tensor, timesteps: readonly number[]) => Tensor) & Replayable

/** A classifier itself, or the function that gives its logits. */
export type LogitsLike = Logits | { forward(x: Tensor, timesteps: readonly number[]): Tensor }

/**
 * The function that gives the logits of `classifier`.
 * @throws TweedieError 'option' for what is neither a function nor a classifier
 */
export function logitsOf(classifier: LogitsLike): Logits {
  if (typeof classifier === 'function') {
    const checked: Logits = (x, timesteps) => checkedLogits(classifier(x, timesteps), x.shape[0])
    return replayable(checked, classifier)
  }
  checkNetwork(classifier, 'classifier', 'What gives logits is a classifier, or a function of x and timesteps')
  const logits: Logits = (x, timesteps) => classifier.forward(x, timesteps)
  return replayable(logits, classifier)
}

function checkedLogits(logits: unknown, n: number): Tensor {
  if (!(logits instanceof Tensor)) throw noTensor('A classifier', logits)
  if (logits.shape.length !== 2 || logits.shape[0] !== n)
    throw new TweedieError('shape', `A classifier gives logits [${n}, classes], found [${logits.shape.join(', ')}].`)
  return logits
}

/** Options of {@link classifierLogits}. */
export interface ClassifierLogitsOptions {
  /** The frozen ADM classifier whose middle-block output this one reads. Default none: it reads pixels. */
  readonly extractor?: Classifier
  /** Class of each sample, for whichever of the two networks is class-conditional. */
  readonly y?: Live<ArrayLike<number>>
}

/**
 * What a noisy classifier of `nn` says of x_t [, y], whatever it tells: minority levels, classes, attributes, real
 * images from synthetic ones. Logits [N, K], differentiable through classifier and extractor.
 * @throws TweedieError 'option' if the classifier does not take what the extractor gives
 */
export function classifierLogits(classifier: Classifier, options: ClassifierLogitsOptions = {}): Logits {
  refuseUnknown('classifierLogits', options, { extractor: true, y: true })
  const { extractor, y } = options
  checkNetwork(classifier, 'classifier', 'classifierLogits takes a classifier')
  if (extractor) checkNetwork(extractor, 'classifier', 'An extractor is a classifier')
  const inputs = ({ config }: Classifier) => (config.numClasses !== null && y ? { y } : {})
  if (!extractor) {
    const alone: Logits = (x, timesteps) => classifier.forward(x, timesteps, inputs(classifier))
    return replayable(alone, classifier)
  }
  const features = featureShape(extractor)
  const [channels, side] = [classifier.config.inChannels, classifier.config.imageSize]
  if (channels !== features.channels || side !== features.side) {
    throw new TweedieError(
      'option',
      `The minority classifier takes ${channels}x${side}x${side}, but the extractor gives ` +
        `${features.channels}x${features.side}x${features.side}: use the extractor it was trained on.`,
    )
  }
  const both: Logits = (x, timesteps) =>
    classifier.forward(extractor.features(x, timesteps, inputs(extractor)), timesteps, inputs(classifier))
  return replayable(both, classifier, extractor)
}

/** Shape of {@link Classifier.features} for one image of the classifier's own size: [channels, side, side]. */
export function featureShape({ config }: Pick<Classifier, 'config'>): { channels: number; side: number } {
  const widths = levelChannels(config)
  return { channels: widths[widths.length - 1], side: config.imageSize / 2 ** (widths.length - 1) }
}
