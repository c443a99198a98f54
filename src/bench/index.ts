/** Measuring kernels and networks, with what a device reaches at most beside each figure. */
export {
  formulaInput,
  formulaNetwork,
  benchNetwork,
  needOf,
  networkConfigs,
  passes,
  timestep,
  workOf,
} from './networks.ts'
export type { NetworkConfig, NetworkRow, Pass } from './networks.ts'
export {
  casesOf,
  caseOfUser,
  kernelKinds,
  plannedCases,
  type KernelCase,
  type KernelKind,
  type PlannedCase,
} from './cases.ts'
export { readKernelText, type KernelText } from './kernel-text.ts'
export { benchKernel, type FailedRow, type KernelRow } from './kernels.ts'
export { errorAt, places } from './reference.ts'
export { measurePeaks, type PeakOptions, type Peaks } from './peaks.ts'
export { checkOwn, gridOf, ownKinds, runOwn, type OwnKernel } from './own.ts'
export * from './report.ts'
export { rooflineSvg } from './roofline.ts'
export { shapeGroups, shapeOfUser, tinyShapes, type ConvolutionShape, type ShapeGroup } from './shapes.ts'
export { spreadOf, stopwatchOf, timeRuns, type Stopwatch, type Timing, type TimingOptions } from './timing.ts'
export { decodeReport, encodeReport } from './share.ts'
