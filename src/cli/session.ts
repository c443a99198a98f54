/** What every command is given beside its arguments: how it is told to stop, and where its device comes from. */
import type { Device, DeviceRequest } from '../tensor/index.ts'

export interface Session {
  /** Aborted by Ctrl-C, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal
  readonly requestDevice: (request: DeviceRequest) => Promise<Device>
}
