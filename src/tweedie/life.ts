import { onPageHide } from '#platform'
import { orAborted } from '../abort.ts'
import { messageOf, TweedieError } from '../errors.ts'
import type { Device } from '../tensor/index.ts'
import type { Loaded } from './load.ts'

/** Losses in a row, without a finished step between them, after which the work is what kills the device. */
const maxLosses = 3
/** Before each try to get a device again, in ms: a driver that was reset needs a moment. */
const waits = [0, 1000, 4000]

/**
 * What a `Tweedie` holds, for longer than its device lives. A device that is lost (a driver that was reset, a thread
 * that died), or that was freed because its page went into the browser's back/forward cache, is asked for again when it
 * is needed again, and the weights are read from where they lie: sources of any kind can be opened twice, and a copy in
 * memory would cost as much as the model. Whoever works on a device keeps on the host what it needs to go on.
 */
export class Life {
  /** What is loaded, or was last. */
  #last: Loaded
  #alive = true
  #disposed = false
  #loading: Promise<Loaded> | null = null
  #shown: Promise<void> = Promise.resolve()
  readonly #stopListening: () => void

  constructor(loaded: Loaded) {
    this.#last = loaded
    // A model that was dropped without dispose() is not to live as long as its page.
    const self = new WeakRef(this)
    this.#stopListening = onPageHide((shown) => {
      const life = self.deref()
      if (life) life.#rest(shown)
    })
  }

  /** What is loaded, or was last: what it says of the model holds, its device may be gone. */
  get last(): Loaded {
    return this.#last
  }

  /** @throws TweedieError 'disposed' for `user` */
  check(user: string): void {
    if (this.#disposed) throw new TweedieError('disposed', `${user}: the model was disposed.`)
  }

  /** What is loaded, loaded again first if it has to be. */
  async current(user: string, signal?: AbortSignal): Promise<Loaded> {
    this.check(user)
    if (this.#alive) return this.#last
    this.#loading ??= this.#load().finally(() => (this.#loading = null))
    const loaded = await orAborted(this.#loading, signal)
    this.check(user)
    return loaded
  }

  /**
   * To be called with what ended work on `loaded`, the `losses`th time since the last finished step: returns where the
   * device is what failed, and the work may be tried again on what is {@link current}.
   *
   * @throws `error` where trying again would not help
   */
  async afterFailure(loaded: Loaded, error: unknown, losses: number): Promise<void> {
    if (this.#disposed || !loaded.again || !(error instanceof TweedieError)) throw error
    // Another loop was here first, or the page went.
    if (loaded !== this.#last || !this.#alive) {
      if (error.code === 'device-lost' || error.code === 'disposed') return
      throw error
    }
    // A guidance of the caller's may have a device of its own.
    if (error.code !== 'device-lost' || !(await isLost(loaded.device))) throw error
    if (losses > maxLosses)
      throw new TweedieError(
        'device-lost',
        `The device was lost ${losses} times in a row in the same step, so that the step may be what it dies of: use ` +
          `a smaller batch, or backend: 'cpu'. (${error.message})`,
        { cause: error },
      )
    this.#free()
  }

  /** The page goes: its device is freed at once, and a page that comes back asks for another. */
  #rest(shown: Promise<void>): void {
    if (this.#disposed || !this.#last.again) return
    this.#shown = shown
    this.#free()
  }

  #free(): void {
    if (!this.#alive) return
    this.#alive = false
    this.#last.dispose()
  }

  async #load(): Promise<Loaded> {
    const before = this.#last
    let failure: unknown
    for (const wait of waits) {
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
      await this.#shown
      if (this.#disposed) break
      try {
        const loaded = await before.again!()
        try {
          checkSame(before, loaded)
        } catch (error) {
          loaded.dispose()
          throw error
        }
        return this.#take(loaded)
      } catch (error) {
        failure = error
        if (!(error instanceof TweedieError && mayPass.includes(error.code))) break
      }
    }
    this.check('Tweedie')
    throw new TweedieError(
      'device-lost',
      `The device was lost, and the model cannot be loaded on it again. ${messageOf(failure)}`,
      { cause: failure },
    )
  }

  #take(loaded: Loaded): Loaded {
    if (this.#disposed) {
      loaded.dispose()
      this.check('Tweedie')
    }
    // The same kernels give the same bits.
    const { kernels } = loaded.device
    kernels.clear()
    for (const [key, kernel] of this.#last.device.kernels) kernels.set(key, kernel)
    this.#alive = true
    return (this.#last = loaded)
  }

  dispose(): void {
    this.#disposed = true
    this.#stopListening()
    this.#free()
  }
}

const mayPass: readonly string[] = ['device-lost', 'webgpu-unavailable', 'cpu-unavailable']

const isLost = (device: Device): Promise<boolean> =>
  device.flush().then(
    () => false,
    (error: unknown) => error instanceof TweedieError && error.code === 'device-lost',
  )

/** Pictures that were begun are finished by the same arithmetic, or not at all. */
function checkSame(before: Loaded, now: Loaded): void {
  const [was, is] = [before.device.adapter, now.device.adapter]
  if (was.name !== is.name || was.vendor !== is.vendor || was.architecture !== is.architecture)
    throw new TweedieError(
      'device-lost',
      `It was ${was.name}, and now there is ${is.name}, which rounds otherwise: load the model again to draw there.`,
    )
  if (before.checksum !== now.checksum)
    throw new TweedieError('weights', 'The files of the model have changed since: load it again.')
}
