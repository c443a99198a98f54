/** The model that a page draws and scores with, in a worker: the shipped set, or files of the visitor's. */
import type { ClientInfo, TweedieClient } from 'tweedie/client'
import { shallowRef, type ShallowRef } from 'vue'
import type { State } from './state.ts'
import type { Named } from './told.ts'

/** A model of the visitor's, and what it may have to be told. */
export interface OwnModel {
  readonly file: File
  /** The published model it is, for a file that does not say so itself. */
  readonly preset?: string
  /** The flags of the script that trained it, likewise. */
  readonly flags?: string
  /** A classifier of classes. */
  readonly classifier?: File
  readonly minorityClassifier?: File
}

export type Choice = 'bccd32' | OwnModel

/** Loads once what is chosen, and holds it until something else is. Nothing of the library comes before that. */
export interface Engine {
  readonly choice: Readonly<ShallowRef<Choice>>
  /** Null until it is loaded. */
  readonly info: Readonly<ShallowRef<ClientInfo | null>>
  /** What is not as it should be though everything works. */
  readonly note: Readonly<ShallowRef<string>>
  /** The next {@link Engine.ready} loads this. */
  choose(choice: Choice): void
  /** The model, loaded. `told` hears how many bytes of how many came. `backend` null: as it is, else the fastest. */
  ready(
    backend: State['backend'] | null,
    told: (done: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<TweedieClient>
  dispose(): void
}

type Told = (done: number, total: number) => void

/** A load on its way. All who ask for the same model wait for it, and it ends when nobody does. */
interface Coming {
  readonly backend: State['backend']
  readonly model: Promise<TweedieClient>
  readonly controller: AbortController
  progress: Parameters<Told>
  /** Who asked last. */
  told: Told
  waiting: number
}

/** `weights`: the folder of the shipped set. */
export function engine(weights: string): Engine {
  const choice = shallowRef<Choice>('bccd32')
  const info = shallowRef<ClientInfo | null>(null)
  const note = shallowRef('')
  let client: TweedieClient | null = null
  let loaded: string | null = null
  let coming: Coming | null = null

  function forget(): void {
    client?.dispose()
    coming?.controller.abort()
    client = info.value = loaded = coming = null
  }

  async function load(backend: State['backend'], onProgress: Told, signal: AbortSignal): Promise<TweedieClient> {
    const { TweedieClient: Client } = await import('tweedie/client')
    const own = choice.value
    const { file, ...rest } = own === 'bccd32' ? { file: own } : own
    const options = { ...rest, ...(backend !== 'auto' && { backend }), weights, onProgress, signal }
    note.value = ''
    const now = await Client.load(file, { ...options, cache: true }).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== 'storage') throw error
      note.value = 'The browser has no room to keep the weights: the next visit loads them again.'
      return Client.load(file, options)
    })
    if (signal.aborted) {
      now.dispose()
      signal.throwIfAborted()
    }
    client = now
    loaded = backend
    info.value = now.info
    coming = null
    return now
  }

  function begin(backend: State['backend']): Coming {
    forget()
    const controller = new AbortController()
    const told: Told = (...progress) => {
      begun.progress = progress
      begun.told(...progress)
    }
    const model = load(backend, told, controller.signal)
    const begun: Coming = { backend, model, controller, progress: [0, 0], told: () => {}, waiting: 0 }
    model.catch(() => {
      if (coming === begun) coming = null
    })
    return begun
  }

  return {
    choice,
    info,
    note,
    choose(next) {
      forget()
      choice.value = next
    },
    async ready(backend, told, signal) {
      signal.throwIfAborted()
      if (client && (backend === null || loaded === backend)) return client
      if (!coming || (backend !== null && coming.backend !== backend)) coming = begin(backend ?? 'auto')
      const now = coming
      now.told = told
      now.waiting++
      told(...now.progress)
      return await new Promise((resolve, reject) => {
        const leave = (): void => {
          reject(signal.reason as Error)
          now.waiting--
          // Who left because other settings are to be drawn is back at once.
          queueMicrotask(() => now.waiting === 0 && now === coming && forget())
        }
        signal.addEventListener('abort', leave)
        void now.model.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
      })
    },
    dispose: forget,
  }
}

/** How the choice is called outside of the page. */
export function namedOf(choice: Choice, info: ClientInfo | null): Named {
  const classes = info?.classes ?? null
  if (choice === 'bccd32') return { name: choice, classes }
  const { file, classifier, minorityClassifier, ...rest } = choice
  return {
    name: file.name,
    classes,
    ...rest,
    ...(classifier && { classifier: classifier.name }),
    ...(minorityClassifier && { minorityClassifier: minorityClassifier.name }),
  }
}

/** What computes, in words. */
export const computesOn = ({ adapter: { name, backend, software } }: ClientInfo): string =>
  backend === 'cpu' ? name : `${name} by WebGPU${software ? ', a software adapter: slower than the CPU' : ''}`

/** An error in a sentence. */
export const sentenceOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
