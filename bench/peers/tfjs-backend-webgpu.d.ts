/** What the benches use of @tensorflow/tfjs-backend-webgpu, which only bench/package.json installs. */
export class WebGPUBackend {
  constructor(device: GPUDevice, info?: GPUAdapterInfo)
  submitQueue(): void
}
