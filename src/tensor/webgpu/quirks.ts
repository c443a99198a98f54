/**
 * What drivers say of themselves and is not so, by who saw it. A line takes a capability away; whether a device
 * computes what it should is `verifyDevice`'s to find out.
 */
import type { AdapterInfo } from './adapter.ts'
import type { Capabilities } from './launch.ts'

interface Quirk {
  readonly of: (info: AdapterInfo) => boolean
  readonly instead: Partial<Capabilities>
  readonly seen: string
}

export const quirks: readonly Quirk[] = [
  {
    of: ({ vendor }) => vendor === 'intel',
    instead: { subgroupSize: 0 },
    seen:
      'UHD 770 under D3D12 says that its subgroups are 16 wide at least, and the first run of a shader has 8: ' +
      'gpuweb/cts pull request 4035, November 2024. There it is a fragment shader; our kernels count on the width.',
  },
]
