/** What every command that computes lets the user choose: the backend, its threads and its SIMD. */
import type { Device, DeviceRequest } from '../../tensor/index.ts'
import type { Arguments } from '../arguments.ts'
import { choice, integer, type AnyDefault } from '../option.ts'
import type { Session } from '../session.ts'

export const deviceOptions = {
  backend: choice(['auto', 'cpu', 'webgpu'], {
    help: 'auto: a hardware GPU that holds the work and is faster, else the CPU; webgpu: also a software driver',
    default: 'auto',
  }),
  threads: integer({
    value: 'N',
    min: 1,
    max: 64,
    help: 'threads of the CPU backend; results do not depend on them',
    otherwise: 'one for each core',
  }),
  simd: choice(['auto', 'plain'], {
    help: 'plain: no fused multiply-add on the CPU, so that it rounds the same way on every machine',
    default: 'auto',
  }),
}

/** The session with a device as the arguments want it. */
export function onDevice(session: Session, args: Arguments<AnyDefault<typeof deviceOptions>>): Session {
  const [backend, threads, simd] = [args.get('backend'), args.get('threads'), args.get('simd')]
  return {
    ...session,
    requestDevice: (request: DeviceRequest) => session.requestDevice({ backend, threads, simd, ...request }),
  }
}

/** For people: what computes, and whether it could be faster. */
export function computedOn({ adapter, backend }: Device): string {
  const slow = adapter.software && backend.kind === 'webgpu'
  return adapter.name + (slow ? ', a software adapter: right, but slower than --backend cpu' : '')
}
