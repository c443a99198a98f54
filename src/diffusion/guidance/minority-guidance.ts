/**
 * Minority guidance (Um et al., ICLR 2024): sampling led by a noise-conditioned classifier of minority levels, labels 0
 * to L - 1 of which L - 1 is the rarest. Eq. 8 and 17 are `classifierGuidance` with the targets made here; Eq. 18 is
 * {@link tiltedGuidance}.
 */
import { TweedieError } from '../../errors.ts'
import { refuseUnknown } from '../../refuse.ts'
import {
  add,
  exp,
  hostRandomUniform,
  log,
  logSoftmax,
  max,
  splitSeed,
  stopGradient,
  sub,
  sum,
} from '../../tensor/index.ts'
import { purposes } from '../../tensor/purposes.ts'
import { logDensityGuidance, type Guidance } from './guidance.ts'
import { replayable } from '../process/replayable.ts'
import { logitsOf, type Logits, type LogitsLike } from './logits.ts'

/** What random choices for the samples of a batch are drawn by. */
export interface SampleStream {
  /** A whole number below 2^53. */
  readonly seed: number
  /** Index of each sample of the batch in the whole run: what it gets depends on it and the seed alone. */
  readonly samples: readonly number[]
}

/**
 * A target class for each sample, uniform among `first` to `last`, both included: how a range such as the top ten
 * levels is run (minority-guidance `classifier_sample.py`).
 */
export function uniformTargets(
  [first, last]: readonly [first: number, last: number],
  { seed, samples }: SampleStream,
): number[] {
  if (!Number.isInteger(first) || !Number.isInteger(last) || first < 0 || last < first) {
    throw new TweedieError(
      'option',
      `A range of target classes is two whole numbers, the smaller first, found ${first} and ${last}.`,
    )
  }
  const choices = hostRandomUniform({ seed: splitSeed(seed), draw: 0, purpose: purposes.target }, samples, 1)
  return choices.map((u) => first + Math.floor(u * (last - first + 1)))
}

/** Options of {@link tiltedGuidance}. */
export interface TiltedGuidanceOptions {
  /**
   * tau_i, the minority score that level i stands for, [L]; or a row for each sample. The paper takes "threshold
   * levels"; of its L - 1 and the code's L we take the code's: the upper thresholds q_i that `quantileLabels`
   * returns, of which the last is the largest score. Where labels were made within each class, a sample's row is
   * that of its class y.
   */
  readonly tau: readonly number[] | readonly (readonly number[])[]
  /** w. Default 1. */
  readonly scale?: number
}

/**
 * Guidance by the expected minority score (Um et al., ICLR 2024, Eq. 18): w * grad_x log sum_i tau_i p_psi(i | x_t),
 * the score of p(x) tilted by it.
 *
 * @throws TweedieError 'option' for a tau that is not a positive number
 */
export function tiltedGuidance(classifier: LogitsLike, options: TiltedGuidanceOptions): Guidance {
  refuseUnknown('tiltedGuidance', options, { tau: true, scale: true })
  const { tau, scale = 1 } = options
  const logits = logitsOf(classifier)
  const rows = tau.map((row) => (typeof row === 'number' ? [row] : row))
  const shared = typeof tau[0] === 'number'
  const wrong = rows.flat().find((value) => !(value > 0 && Number.isFinite(value)))
  if (wrong !== undefined || rows.length === 0) {
    throw new TweedieError(
      'option',
      'tau are scores of minority levels, positive numbers, of which the logarithm is taken; found ' +
        `${wrong ?? 'none'}. Thresholds of 0 come from scores of 0: choose fewer levels, or add to each.`,
    )
  }
  const logTau = shared ? [rows.flat().map(Math.log)] : rows.map((row) => row.map(Math.log))
  const density: Logits = (x, timesteps) => {
    const z = logits(x, timesteps)
    const [n, levels] = z.shape
    if ((!shared && logTau.length !== n) || logTau.some((row) => row.length !== levels)) {
      throw new TweedieError(
        'option',
        `Expected ${levels} tau, one for each level of the classifier, or as many for each of the ${n} samples; ` +
          `found ${logTau.length} of ${logTau.map((row) => row.length).join(', ')}.`,
      )
    }
    const terms = add(logSoftmax(z), x.device.tensor(logTau.flat(), [logTau.length, levels]))
    // log sum exp, of which the largest term is taken out; the gradient is the softmax of the terms
    // whatever is taken out.
    const peak = stopGradient(max(terms, { axes: [1], keepDims: true }))
    return add(log(sum(exp(sub(terms, peak)), { axes: [1], keepDims: true })), peak)
  }
  return logDensityGuidance(replayable(density, logits), scale)
}
