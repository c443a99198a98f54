/** What every command that computes lets the user choose: the backend, its threads and its SIMD. */
import type { Device, DeviceRequest } from '../../tensor/index.ts'
import type { Arguments } from '../arguments.ts'
import type { Session } from '../session.ts'

export const deviceOptions = {
  backend: { value: 'auto|cpu|webgpu', help: 'auto: a hardware GPU that can hold the work, else the CPU; webgpu: also a software driver', default: 'auto' },
  threads: { value: 'N', help: 'threads of the CPU backend; results do not depend on them', default: 'one for each core' },
  simd: { value: 'auto|plain', help: 'plain: no fused multiply-add on the CPU, so that it rounds the same way on every machine', default: 'auto' },
} as const

export type DeviceOption = keyof typeof deviceOptions

/** The session with a device as the arguments want it. */
export function onDevice(session: Session, args: Arguments<DeviceOption>): Session {
  const backend = args.choice('backend', ['auto', 'cpu', 'webgpu'])
  const threads = args.integer('threads', { min: 1, max: 64 })
  const simd = args.choice('simd', ['auto', 'plain'])
  return { ...session, requestDevice: (request: DeviceRequest) => session.requestDevice({ backend, threads, simd, ...request }) }
}

/** For people: what computes, and whether it could be faster. */
export const computedOn = ({ adapter, backend }: Device): string =>
  `${adapter.name}${adapter.software && backend.kind === 'webgpu' ? ', a software adapter: right, but slower than --backend cpu' : ''}`
