/** Measuring kernels and networks, with what a device reaches at most beside each figure. */
export { formulaInput, formulaNetwork, benchNetwork, needOf, networkConfigs, passes, timestep } from './networks.ts'
export type { NetworkConfig, NetworkRow, Pass } from './networks.ts'
export { benchKernel, casesOf, type FailedRow, type KernelCase, type KernelRow } from './kernels.ts'
export { measurePeaks, type PeakOptions, type Peaks } from './peaks.ts'
export * from './report.ts'
export { rooflineSvg } from './roofline.ts'
export { shapeGroups, shapeOfUser, tinyShapes, type ConvolutionShape, type ShapeGroup } from './shapes.ts'
export { spreadOf, stopwatchOf, timeRuns, type Stopwatch, type Timing, type TimingOptions } from './timing.ts'
