/** What kernels may use of a device: what is asked of the adapter for it, what was granted, what a caller claims. */
import { TweedieError } from '../../errors.ts'
import { refuseUnknown } from '../../refuse.ts'
import type { AdapterInfo } from './adapter.ts'
import type { Capabilities } from './launch.ts'
import { quirks } from './quirks.ts'

/** Asked for where the adapter has them; no kernel is without a twin that does with none. */
const optionalFeatures = ['subgroups', 'subgroup-size-control', 'shader-f16', 'timestamp-query'] as const

/** The features and limits, beside memory, that a device is requested with. */
export function wantedOf(adapter: GPUAdapter): { features: string[]; limits: Record<string, number> } {
  const { features, limits } = adapter
  return {
    features: optionalFeatures.filter((name) => features.has(name)),
    limits: { maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize },
  }
}

/** What the device has, or the less that `claimed` leaves of it. */
export function capabilitiesOf(
  device: GPUDevice,
  info: AdapterInfo,
  software: boolean,
  claimed: Partial<Capabilities> = {},
): Capabilities {
  const { features, limits } = device
  const { subgroupMinSize, subgroupMaxSize } = info
  const fixed = features.has('subgroups') && subgroupMinSize === subgroupMaxSize
  const granted: Capabilities = {
    subgroupSize: fixed ? (subgroupMinSize ?? 0) : 0,
    software,
    maxGrid: limits.maxComputeWorkgroupsPerDimension,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
    halfFloats: features.has('shader-f16'),
    timestamps: features.has('timestamp-query'),
    subgroupSizeControl: features.has('subgroup-size-control'),
  }
  const instead = quirks.filter((quirk) => quirk.of(info)).map((quirk) => quirk.instead)
  const has: Capabilities = Object.assign(granted, ...instead)
  refuseUnknown('Device.request: capabilities', claimed, has)
  // An option that is undefined is as good as absent.
  const told = Object.entries(claimed).filter(([, value]) => value !== undefined)
  for (const [name, value] of told) {
    const own = has[name as keyof Capabilities]
    if (!mayClaim(name as keyof Capabilities, value, own))
      throw new TweedieError(
        'option',
        `Device.request: capabilities: ${name} is ${own} on this device and cannot be ${String(value)}: ` +
          'claim what the device has, or less.',
      )
  }
  return { ...has, ...Object.fromEntries(told) }
}

function mayClaim(name: keyof Capabilities, value: unknown, own: number | boolean): boolean {
  if (typeof value !== typeof own) return false
  if (name === 'software') return true
  // Half a subgroup is none.
  if (name === 'subgroupSize') return value === own || value === 0
  return typeof own === 'boolean' ? own || !value : Number.isInteger(value) && 0 < Number(value) && Number(value) <= own
}
