/**
 * Training: the loop, its optimiser, and what can be trained.
 *
 * @module tweedie/train
 */
export { classNames, encodeClassNames } from './class-names.ts'
export { AdamW, type AdamWOptions } from './adamw.ts'
export {
  classifierTask,
  evaluateClassifier,
  type ClassifierDraw,
  type ClassifierEvaluation,
  type ClassifierImages,
  type ClassifierLoss,
  type ClassifierTaskOptions,
  type EvaluateClassifierOptions,
  type NoisyClassifier,
} from './classifier.ts'
export {
  diffusionTask,
  quartiles,
  quartilesOf,
  trainPurposes,
  type DiffusionDraw,
  type DiffusionTaskOptions,
  type TrainImages,
} from './diffusion.ts'
export { dinoFeatureNet, DinoTask, dinoViT, type DinoDraw, type DinoNetwork, type DinoTaskOptions } from './dino.ts'
export { evaluateDiffusion, type EvaluateOptions, type Evaluation } from './evaluate.ts'
export { FeatureTask, type FeatureDraw, type FeatureTaskOptions } from './feature-net.ts'
export { splitLabelled, splitLevels, type Labels, type LevelSplit, type SplitLevelsOptions } from './levels.ts'
export { logCsv, type Figure, type Row } from './log.ts'
export { featureTrainingMemoryOf, trainingMemoryOf, viTTrainingMemoryOf } from './memory.ts'
export {
  checkSettings,
  countersOf,
  encodeModel,
  encodeState,
  modelOfState,
  restoreState,
  runOfState,
  trainingMetadata,
  trainingOf,
  type RestoreOptions,
} from './state.ts'
export {
  Trainer,
  type AnyTrainer,
  type Draw,
  type RunChange,
  type Task,
  type TrainCounters,
  type TrainOptions,
  type TrainStep,
} from './trainer.ts'
export { viewDefaults, viewsOf, type ViewOptions } from './views.ts'
