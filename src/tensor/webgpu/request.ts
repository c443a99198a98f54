/**
 * Getting a GPUDevice: from the platform, with no more than the limits and features the work needs, or from the caller.
 */
import { messageOf, TweedieError } from '../../errors.ts'
import { noAdapterHint, requestGPU, waitFor } from '#platform'
import type { AdapterDescription, DeviceNeed } from '../backend.ts'
import { checkFreeMemory, mebibytes } from '../need.ts'
import type { GPURequest } from '../request.ts'
import { describeAdapter, infoOf, type AdapterInfo } from './adapter.ts'
import { WebGPUBackend } from './backend.ts'
import { capabilitiesOf, wantedOf } from './capabilities.ts'
import { identityOf, recall } from '../remembered.ts'
import { shippedWinners } from './shipped-winners.ts'

function checkNeed(need: DeviceNeed, adapter: AdapterDescription): void {
  const largest = Math.min(adapter.maxBufferBytes, adapter.maxBindingBytes)
  if (need.largestBuffer > largest) {
    throw new TweedieError(
      'limit-exceeded',
      `The largest tensor needs ${mebibytes(need.largestBuffer)}, but one buffer of ${adapter.name} holds ` +
        `${mebibytes(largest)}: use a smaller batch.`,
    )
  }
  if (adapter.software) checkFreeMemory(need.bytes)
}

/** `found`: an adapter that was asked for already. */
export async function requestWebGPU(
  { need, gpuDevice, capabilities, signal }: GPURequest,
  found?: GPUAdapter,
): Promise<{ backend: WebGPUBackend; adapter: AdapterDescription }> {
  signal?.throwIfAborted()
  if (gpuDevice) {
    const info: AdapterInfo = (gpuDevice.adapterInfo as AdapterInfo | undefined) ?? {}
    const adapter = describeAdapter(info, gpuDevice.limits)
    if (need) checkNeed(need, adapter)
    return { backend: await backendOf(gpuDevice, info, adapter, capabilities, false), adapter }
  }
  const adapter = found ?? (await (await requestGPU()).requestAdapter({ powerPreference: 'high-performance' }))
  if (!adapter)
    throw new TweedieError(
      'webgpu-unavailable',
      `WebGPU is here, but no adapter: take the CPU backend. ${noAdapterHint}`,
    )
  signal?.throwIfAborted()
  const info = await infoOf(adapter)
  const description = describeAdapter(info, adapter.limits)
  if (need) checkNeed(need, description)
  // Larger buffers than the defaults may cost speed and hide mistakes: ask for what the work needs.
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits
  const wanted = Math.max(need?.largestBuffer ?? 0, 128 * 2 ** 20)
  const kernels = wantedOf(adapter)
  const request = adapter.requestDevice({
    // A feature newer than a user's types is a feature all the same.
    requiredFeatures: kernels.features as GPUFeatureName[],
    requiredLimits: {
      ...kernels.limits,
      maxStorageBufferBindingSize: Math.min(maxStorageBufferBindingSize, alignUp(wanted)),
      maxBufferSize: Math.min(maxBufferSize, alignUp(Math.max(wanted, 256 * 2 ** 20))),
    },
  })
  const device = await request.catch((cause: unknown) => {
    throw new TweedieError('webgpu-unavailable', `${description.name} does not give a device: ${messageOf(cause)}`, {
      cause,
    })
  })
  if (signal?.aborted) {
    device.destroy()
    signal.throwIfAborted()
  }
  try {
    const granted = describeAdapter(info, device.limits)
    return { backend: await backendOf(device, info, granted, capabilities, true), adapter: granted }
  } catch (error) {
    device.destroy()
    throw error
  }
}

/** The backend, with what was measured for adapters of its kind and on this one. */
async function backendOf(
  gpuDevice: GPUDevice,
  info: AdapterInfo,
  adapter: AdapterDescription,
  claimed: GPURequest['capabilities'],
  owned: boolean,
): Promise<WebGPUBackend> {
  const capabilities = capabilitiesOf(gpuDevice, info, adapter.software, claimed)
  // What is measured with less than the device has is another's.
  const identity = identityOf(info, gpuDevice) + (claimed ? ` | ${JSON.stringify(capabilities)}` : '')
  const backend = new WebGPUBackend(gpuDevice, adapter, capabilities, owned, waitFor, identity)
  backend.recall(shippedWinners[`${adapter.vendor} ${adapter.architecture}`] ?? {})
  backend.recall((await recall(identity)).winners)
  return backend
}

const alignUp = (bytes: number): number => Math.ceil(bytes / 256) * 256
