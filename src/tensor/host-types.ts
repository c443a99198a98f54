/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The types of the host that the package's declarations name, so that they compile in a program that has none of them:
 * not every `lib` has `Symbol.dispose`, TypeScript's own knew no WebGPU up to version 5, Node's types have no
 * WebAssembly. An interface of this name that is there already (of `@webgpu/types`, `@types/node`, a newer `lib.dom`)
 * is the same one and keeps all its members: interfaces merge. To a program without it, it is an opaque object.
 */
declare global {
  interface AbortSignal {}
  interface Blob {}
  interface ImageBitmap {}
  interface ImageData {}
  interface MessagePort {}
  interface URL {}
  interface Worker {}
  interface GPUAdapter {}
  interface GPUBindGroup {}
  interface GPUBindGroupLayout {}
  interface GPUBuffer {}
  interface GPUComputePassDescriptor {}
  interface GPUComputePipeline {}
  interface GPUDevice {}
  interface GPUError {}
  interface GPUPipelineLayout {}
  interface GPUSupportedLimits {}
  namespace WebAssembly {
    interface Memory {}
  }
}

export {}
