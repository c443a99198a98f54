/**
 * Adapters and what is known of them. Much of that is newer than WebGPU itself, and hosts differ in what they have:
 * `info` came in 2024 (Chrome 127; before it there was `requestAdapterInfo`), a device's `adapterInfo` after it, and
 * `isFallbackAdapter` moved from the adapter to its `info`. Nothing of it is needed to compute.
 */
import { listAdapters as platformAdapters } from '#platform'
import type { AdapterDescription, AdapterListing } from '../backend.ts'

/** A `GPUAdapterInfo` of any year; spelled out, because not every user's TypeScript knows that type (host-types.ts). */
export interface AdapterInfo {
  readonly vendor?: string
  readonly architecture?: string
  readonly device?: string
  readonly description?: string
  readonly isFallbackAdapter?: boolean
  readonly subgroupMinSize?: number
  readonly subgroupMaxSize?: number
}

interface OlderAdapter {
  readonly info?: AdapterInfo
  readonly isFallbackAdapter?: boolean
  requestAdapterInfo?(): Promise<AdapterInfo>
}

/** What the host tells of an adapter. */
export async function infoOf(adapter: GPUAdapter): Promise<AdapterInfo> {
  const older = adapter as unknown as OlderAdapter
  const info = older.info ?? (await older.requestAdapterInfo?.().catch(() => undefined)) ?? {}
  const {
    vendor,
    architecture,
    device,
    description,
    subgroupMinSize,
    subgroupMaxSize,
    isFallbackAdapter = older.isFallbackAdapter,
  } = info
  return { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize, isFallbackAdapter }
}

export function describeAdapter(
  { vendor = '', architecture = '', device = '', description = '', isFallbackAdapter }: AdapterInfo,
  limits: GPUSupportedLimits,
): AdapterDescription {
  return {
    vendor,
    architecture,
    name: description || device || architecture || vendor || 'unknown GPU',
    software:
      /llvmpipe|lavapipe|swiftshader|softpipe|microsoft basic render/i.test(
        `${vendor} ${architecture} ${device} ${description}`,
      ) || isFallbackAdapter === true,
    maxBufferBytes: limits.maxBufferSize,
    maxBindingBytes: limits.maxStorageBufferBindingSize,
  }
}

/**
 * Every WebGPU adapter of this machine, hardware and software, with all it could give; a device is asked for no more
 * than its work needs.
 */
export async function listAdapters(): Promise<AdapterListing[]> {
  const listings = new Map<string, AdapterListing>()
  for (const adapter of await platformAdapters()) {
    const info = await infoOf(adapter)
    const { limits, features } = adapter
    // A browser is asked several times and may give the same one again.
    const key = [info.vendor, info.architecture, info.device, info.description].join('/')
    if (listings.has(key)) continue
    listings.set(key, {
      ...describeAdapter(info, limits),
      subgroups: features.has('subgroups'),
      halfFloats: features.has('shader-f16'),
      timestamps: features.has('timestamp-query'),
      workgroupBytes: limits.maxComputeWorkgroupStorageSize,
    })
  }
  return [...listings.values()]
}
