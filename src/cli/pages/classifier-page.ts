/** Evaluations of a classifier's checkpoints: as a line, and as curves and a table of the run's report. */
import { aCount, aNumber, aText, fieldsOf, listOf, optional } from '../../io/json.ts'
import { quartiles, type ClassifierEvaluation } from '../../train/index.ts'
import { htmlTable } from './html.ts'
import type { Curve } from './train-page.ts'

/** An evaluation as it is kept with the run. */
export interface ClassifierReview {
  readonly step: number
  readonly images: number
  readonly average: string
  readonly heldBack?: ClassifierEvaluation
  readonly train: ClassifierEvaluation
}

const isEvaluation = fieldsOf({
  images: aCount,
  loss: aNumber,
  acc1: aNumber,
  lossByQuartile: listOf(aNumber),
  acc1ByQuartile: listOf(aNumber),
})
export const isReview = fieldsOf({
  step: aCount,
  images: aCount,
  average: aText,
  train: isEvaluation,
  heldBack: optional(isEvaluation),
})

const percent = (part: number): string => `${(100 * part).toFixed(1)} %`

export function reviewLine({ step, heldBack, train }: ClassifierReview): string {
  const line = ({ loss, acc1, acc1ByQuartile }: ClassifierEvaluation): string =>
    `loss ${loss.toPrecision(4)}, acc@1 ${percent(acc1)} (${acc1ByQuartile.map(percent).join(', ')} by quartile)`
  return `Step ${step}: ${heldBack ? `held back: ${line(heldBack)}; ` : ''}training images: ${line(train)}`
}

/** Loss and accuracy of every checkpoint, and the last one's by quartile beside what guessing gives. */
export function evaluationsOf(
  reviews: readonly ClassifierReview[],
  guess: Pick<ClassifierEvaluation, 'loss' | 'acc1'>,
): { curves: Curve[]; body: string } {
  const last = reviews.at(-1)
  if (!last) return { curves: [], body: '' }
  const x = reviews.map(({ images }) => images)
  const curve = (title: string, label: string, log: boolean, pick: (of: ClassifierEvaluation) => number): Curve => ({
    title,
    label,
    log,
    x,
    lines: [
      { name: 'training images', y: reviews.map(({ train }) => pick(train)) },
      ...(last.heldBack
        ? [{ name: 'images held back', y: reviews.map(({ heldBack }) => (heldBack ? pick(heldBack) : null)) }]
        : []),
    ],
  })
  // A measure a row: five quartiles side by side would be wider than a phone.
  const sets = [last.train, ...(last.heldBack ? [last.heldBack] : [])]
  const five = ['', ...quartiles]
  const rows = [
    ['images', ...sets.map(({ images }) => String(images)), ''],
    ...five.map((q, i) => {
      const losses = sets.map(({ loss, lossByQuartile }) => [loss, ...lossByQuartile][i])
      return [`loss ${q}`.trim(), ...[...losses, guess.loss].map((value) => value.toPrecision(4))]
    }),
    ...five.map((q, i) => {
      const parts = sets.map(({ acc1, acc1ByQuartile }) => [acc1, ...acc1ByQuartile][i])
      return [`acc@1 ${q}`.trim(), ...[...parts, guess.acc1].map(percent)]
    }),
  ]
  return {
    curves: [
      curve(
        `loss of ${last.average}, on the same images, steps and noise every time`,
        'loss',
        true,
        ({ loss }) => loss,
      ),
      curve('acc@1, likewise', 'acc@1', false, ({ acc1 }) => acc1),
    ],
    body: `<h2>Evaluation after ${last.images.toLocaleString('en')} images</h2>
${htmlTable(rows, ['', 'training', ...(last.heldBack ? ['held back'] : []), 'guessing'])}`,
  }
}
