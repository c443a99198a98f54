/**
 * What may stand in a step that is recorded once and replayed (`Device.record`): it is called for the first step of
 * its kind alone.
 */
import type { Live } from '../../tensor/index.ts'

/** A function, or an object with methods, that says whether it may be recorded. */
export interface Replayable {
  /**
   * It runs the same ops at every step, on the same shapes, and uses the time only by handing it on: to a network, or
   * to where a {@link Live} value is taken. For `timesteps`, and the `t` of a noise, it may be given a function. A step
   * of which all parts say so is recorded once and replayed, which spares the host most of its work; any other part is
   * called at every step. Default false.
   */
  readonly replayable?: boolean
}

/** What a network is told of the time, one number a sample: see {@link Replayable} for when it is a function. */
export type Timesteps = Live<readonly number[]>

/** Says of `f` that it is replayable, if `parts`, what it calls of a caller's, are. */
export const replayable = <F extends object>(f: F, ...parts: readonly unknown[]): F & Replayable =>
  parts.every(isReplayable) ? Object.assign(f, { replayable: true }) : f

/** Whether something says that it is {@link Replayable}. */
export const isReplayable = (thing: unknown): boolean => (thing as Replayable | null | undefined)?.replayable === true

/** A live value in the place of a value: for what is replayable, which only hands it on. */
export const handedOn = <T>(value: Live<T>): T => value as T
