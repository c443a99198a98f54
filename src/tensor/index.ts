/** Tensors, ops and gradients: the engine by itself. */
export { Device } from './device.ts'
export type { ArrayOf, DType } from './dtype.ts'
export type {
  AdapterDescription,
  AdapterListing,
  Backend,
  BackendStats,
  DeviceNeed,
  Fault,
  GPUSharing,
  Recording,
  Spec,
  Storage,
  TuneOptions,
  Verdict,
  View,
  Work,
} from './backend.ts'
export {
  constant,
  expression,
  f,
  type Argument as ExpressionArgument,
  type Expression,
  type FunctionName as ExpressionFunction,
  type Node as ExpressionNode,
} from './expression.ts'
export { customGradient, grad, noGrad, recompute, stopGradient, type GradResult } from './grad.ts'
export type { KernelOptions } from './kernel.ts'
export { liveOf, now, type Live } from './live.ts'
export type { Program } from './program.ts'
export type { DeviceRequest } from './request.ts'
export type { Shape } from './shape.ts'
export { Tensor, type AnyTensor } from './tensor.ts'
export { listAdapters } from './webgpu/adapter.ts'
export type { Capabilities } from './webgpu/launch.ts'
export type { Winner, Winners } from './remembered.ts'
export * from './ops/arithmetic.ts'
export { concat, pad, permute, slice, split } from './ops/copy.ts'
export { conv2d, type ConvOptions } from './ops/conv2d.ts'
export { broadcastTo, cast, full, map, zeros, type MapOptions } from './ops/map.ts'
export { linear, matmul, type MatmulParams } from './ops/matmul.ts'
export { max, mean, sum, sumTo, type ReduceOptions } from './ops/reduce.ts'
export { reshape } from './ops/reshape.ts'
export { dropout, type DropoutStream } from './ops/dropout.ts'
export { updateAdamW, type AdamWParams, type AdamWState } from './ops/adamw.ts'
export { attention, type AttentionOptions } from './ops/attention.ts'
export { groupNorm, type GroupNormOptions } from './ops/group-norm.ts'
export { embedding, gather } from './ops/gather.ts'
export { avgPool2d, maxPool2d, type AvgPoolOptions, type MaxPoolOptions, type PoolOptions } from './ops/pool.ts'
export { randomBits, randomNormal, type RandomParams } from './ops/random.ts'
export { resizeBilinear, upsampleNearest } from './ops/resize.ts'
export { logSoftmax, softmax } from './ops/softmax.ts'
export type { Values } from './values.ts'
export { verifyDevice, type VerifyOptions } from './verify.ts'
export { hostRandomBits, hostRandomNormal, hostRandomUniform, splitSeed, type RandomStream } from './philox.ts'
