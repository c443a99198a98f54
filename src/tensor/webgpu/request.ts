/**
 * Getting a GPUDevice: from the platform, with no more than the limits and features the work needs, or from the caller.
 */
import { TweedieError } from '../../errors.ts'
import { listAdapters as platformAdapters, mayHaveGPU, noAdapterHint, requestGPU, waitFor } from '#platform'
import type { AdapterDescription, AdapterListing, DeviceNeed } from '../backend.ts'
import { checkFreeMemory, mebibytes } from '../need.ts'
import { WebGPUBackend } from './backend.ts'
import { recallChoices } from './tuner.ts'

export interface GPURequest {
  /** Refuses with `limit-exceeded` or `out-of-memory` a device that cannot hold this. */
  readonly need?: DeviceNeed
  /** A device of the caller's: it is used, and never destroyed. */
  readonly gpuDevice?: GPUDevice
  readonly signal?: AbortSignal
}

function describeAdapter(info: GPUAdapterInfo, limits: GPUSupportedLimits): AdapterDescription {
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    name: info.description || info.device || info.architecture || info.vendor || 'unnamed adapter',
    software: /llvmpipe|lavapipe|swiftshader|softpipe|microsoft basic render/i.test(text) || info.isFallbackAdapter === true,
    maxBufferBytes: limits.maxBufferSize,
    maxBindingBytes: limits.maxStorageBufferBindingSize,
  }
}

/** Every WebGPU adapter of this machine, hardware and software, with all it could give; a device is asked for no more than its work needs. */
export async function listAdapters(): Promise<AdapterListing[]> {
  return (await platformAdapters()).map(({ info, limits, features }) => ({
    ...describeAdapter(info, limits), subgroups: features.has('subgroups'), halfFloats: features.has('shader-f16'),
  }))
}

function checkNeed(need: DeviceNeed, adapter: AdapterDescription): void {
  const largest = Math.min(adapter.maxBufferBytes, adapter.maxBindingBytes)
  if (need.largestBuffer > largest) {
    throw new TweedieError('limit-exceeded', `The largest tensor needs ${mebibytes(need.largestBuffer)}, but one buffer of ${adapter.name} holds ${mebibytes(largest)}: use a smaller batch.`)
  }
  if (adapter.software) checkFreeMemory(need.bytes)
}

/** The best hardware adapter. Null where there is none: a software one is slower than the CPU backend. */
export async function hardwareAdapter(): Promise<GPUAdapter | null> {
  if (!mayHaveGPU()) return null
  try {
    const adapter = await (await requestGPU()).requestAdapter({ powerPreference: 'high-performance' })
    return adapter && !describeAdapter(adapter.info, adapter.limits).software ? adapter : null
  } catch {
    // The package `webgpu` is not installed, or does not load here.
    return null
  }
}

/** `found`: an adapter that was asked for already. */
export async function requestWebGPU({ need, gpuDevice, signal }: GPURequest, found: GPUAdapter | null = null): Promise<{ backend: WebGPUBackend; adapter: AdapterDescription }> {
  signal?.throwIfAborted()
  if (gpuDevice) {
    const adapter = describeAdapter(gpuDevice.adapterInfo, gpuDevice.limits)
    if (need) checkNeed(need, adapter)
    const backend = new WebGPUBackend(gpuDevice, adapter, false, waitFor)
    await recallChoices(backend.choices, adapter)
    return { backend, adapter }
  }
  const adapter = found ?? await (await requestGPU()).requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new TweedieError('webgpu-unavailable', `WebGPU is here, but no adapter: take the CPU backend. ${noAdapterHint}`)
  signal?.throwIfAborted()
  const description = describeAdapter(adapter.info, adapter.limits)
  if (need) checkNeed(need, description)
  // Larger limits than the defaults may cost speed and hide mistakes: ask for what the work needs.
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits
  const wanted = Math.max(need?.largestBuffer ?? 0, 128 * 2 ** 20)
  const request = adapter.requestDevice({
    requiredFeatures: adapter.features.has('subgroups') ? ['subgroups'] : [],
    requiredLimits: {
      maxStorageBufferBindingSize: Math.min(maxStorageBufferBindingSize, alignUp(wanted)),
      maxBufferSize: Math.min(maxBufferSize, alignUp(Math.max(wanted, 256 * 2 ** 20))),
    },
  })
  const device = await request.catch((cause: unknown) => {
    throw new TweedieError('webgpu-unavailable', `${description.name} does not give a device: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  })
  if (signal?.aborted) {
    device.destroy()
    signal.throwIfAborted()
  }
  const granted = describeAdapter(adapter.info, device.limits)
  const backend = new WebGPUBackend(device, granted, true, waitFor)
  await recallChoices(backend.choices, granted)
  return { backend, adapter: granted }
}

const alignUp = (bytes: number): number => Math.ceil(bytes / 256) * 256
