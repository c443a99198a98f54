/** Training: the loop, its optimiser, and what can be trained. */
export { AdamW, type AdamWOptions } from './adamw.ts'
export { diffusionTask, quartiles, quartilesOf, trainPurposes, uniforms, type DiffusionTaskOptions, type TrainImages } from './diffusion.ts'
export { evaluateDiffusion, type EvaluateOptions, type Evaluation } from './evaluate.ts'
export type { Figure, Row } from './log.ts'
export { encodeModel, encodeState, restoreState, runOfState } from './state.ts'
export { Trainer, type AnyTrainer, type Draw, type Task, type TrainCounters, type TrainOptions, type TrainStep } from './trainer.ts'
